"""What an error of the Hub's client means: in words for who runs the command, and whether it may pass by itself."""

from __future__ import annotations

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers

from jobs.errors import UserError
from qa.redaction import redact

# Of any request that reads, creates or settles.
HUB_ERRORS = (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.HTTPError)
# RuntimeError wraps the failure of one large file; ValueError is what the Hub says against storing it (its quota).
UPLOAD_ERRORS = (HfHubHTTPError, httpx2.HTTPError, ConnectionError, RuntimeError, ValueError)
PASSING = {408, 409, 429, 500, 502, 503, 504}  # statuses after which the same request may succeed
MOVED = 412
NO_PLAN = (
    "a Gradio Space needs a paid plan since July 2026: take PRO or a Team plan, or give --space OWNER/NAME of an "
    "organisation that has one, or of a Space that is there already (a free account may make two on ZeroGPU); or run "
    "`python app.py` on a machine of your own: a static Space, which costs nothing, cannot run it"
)
ADVICE = {
    401: "the token is not known there, or has expired; run `hf auth login` or set HF_TOKEN, and run again",
    402: "a paid plan is needed there",
    403: "the token has no right to this; set HF_TOKEN to a token that may write there",
    404: "no such repository there, or a private one; check the name and the token's rights",
    409: "another commit is in progress; run the same command again",
    413: "it is too large for the Hub; publish fewer types with export.types, or ask for more room there",
    422: "what arrived is not what was sent, or cannot be stored; run the same command again",
    MOVED: "somebody else committed meanwhile; run the same command again",
    507: "there is no room left; free some there, and run the same command again",
}


def explain(error: BaseException | None, subject: str, kind: str = "") -> UserError:
    """What an error of the Hub's client means for who runs the command; of a `kind` "space", what a plan is for."""
    if not isinstance(error, HfHubHTTPError):
        return UserError(f"{subject}: {_unanswered(error)}")
    status, said = error.response.status_code, " ".join(redact(error.server_message or "no reason given").split())
    advice = ADVICE.get(status, "try again later: what is already there is not sent again")
    advice = NO_PLAN if status == 402 and kind == "space" else advice
    return UserError(f"{subject}: {constants.ENDPOINT} answered {status} ({said}): {advice}")


def _unanswered(error: BaseException | None) -> str:
    if isinstance(error, HFValidationError):
        return f"not a repository's name ({error}); choose others with --namespace and --name"
    if isinstance(error, OfflineModeIsEnabled):
        return f"the Hub at {constants.ENDPOINT} is not asked while HF_HUB_OFFLINE is set; unset it"
    said = redact(" ".join(str(error).split()) or type(error).__name__)
    if isinstance(error, ValueError):
        return f"{constants.ENDPOINT} does not take it ({said})"
    return f"the Hub at {constants.ENDPOINT} cannot be reached ({said}); check the network or HF_ENDPOINT"


def cause(error: BaseException) -> BaseException:
    """The failure itself, where the client has wrapped it with the name of a file."""
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def status_of(error: BaseException) -> int | None:
    """The status of the Hub's answer; None where there was none."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None


def seconds_asked(error: BaseException) -> float:
    """How long the Hub asks to wait (`ratelimit`, Retry-After); 0 where it asks for nothing."""
    if not isinstance(error, HfHubHTTPError):
        return 0.0
    headers = error.response.headers
    limit = parse_ratelimit_headers(headers) if error.response.status_code == 429 else None
    if limit is not None and limit.remaining == 0:  # the header comes with every answer, refused or not
        return limit.reset_in_seconds + 1.0  # it counts whole seconds
    asked = headers.get("Retry-After", "")
    return float(asked) if asked.isdecimal() else 0.0


def commit_failed(error: BaseException) -> bool:
    """Whether it is the commit's own request that failed; the client repeats the others by itself."""
    if isinstance(error, HfHubHTTPError):
        return "/commit/" in error.response.url.path  # its own `request` is not set in huggingface_hub 2.4.0
    return isinstance(error, httpx2.RequestError) and "/commit/" in error.request.url.path


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    status = status_of(error)
    return isinstance(error, httpx2.TransportError) if status is None else status in PASSING
