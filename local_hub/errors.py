"""The Hub's refusals. Over plain http the client picks its exception by `X-Error-Code` alone, so it is always sent."""

import json

from starlette.responses import Response


class HubError(Exception):
    """An answer that is not a success: status, machine-readable code, message for a person."""

    def __init__(self, status: int, message: str, code: str | None = None, **extra: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra
        self.headers: dict[str, str] = {}

    def response(self) -> Response:
        """The same error three times, because the client reads whichever of header, code and body it knows."""
        # Header values are latin-1 on the wire; a message may quote a unicode file name or hold line breaks.
        one_line = " ".join(self.message.split()).encode("ascii", "backslashreplace").decode()
        headers = {"X-Error-Message": one_line, **self.headers}
        if self.code:
            headers["X-Error-Code"] = self.code
        body = json.dumps({"error": self.message, **self.extra})
        return Response(body, self.status, headers, "application/json")


def bad_request(message: str) -> HubError:
    return HubError(400, message)


def repo_not_found(anonymous: bool) -> HubError:
    """Missing and forbidden look the same, so that a stranger cannot probe for private names."""
    return HubError(401 if anonymous else 404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, commit: str) -> HubError:
    """The commit goes along: the client remembers the absence in its cache under it."""
    error = HubError(404, f"Entry not found: {path}", "EntryNotFound")
    error.headers["X-Repo-Commit"] = commit
    return error
