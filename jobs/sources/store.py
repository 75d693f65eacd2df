"""What was fetched, on disk: the bytes, and beside them a JSON file that is written last and makes them whole."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.documents import UnreadableError

DAY = 86_400.0


class RefusedError(UnreadableError):
    """A document that cannot be had. `lasting`: asking again would change nothing, so the refusal is kept.

    `kind` is the content type that nobody can read, where that is the reason: who reads it may have the page.
    """

    def __init__(self, reason: str, *, lasting: bool, kind: str = "") -> None:
        super().__init__(reason)
        self.lasting, self.kind = lasting, kind


@dataclass(frozen=True)
class Page:
    """One answer: what was asked for, where it came from, when (seconds since 1970), and how long it is."""

    address: str
    final: str
    content_type: str
    status: int
    fetched: float
    size: int = 0
    problem: str = ""  # why there are no bytes
    charset: str = ""  # as the server states it


class PageStore:
    """Answers by the SHA-256 of their address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, address: str) -> Path:
        """Where the bytes are."""
        digest = hashlib.sha256(address.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.bytes"

    def find(self, address: str, *, since: float = 0.0) -> Page | None:
        """The answer, unless there is none that is whole and was fetched since then."""
        path = self.path(address)
        try:
            page = Page(**json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
            whole = page.problem or path.stat().st_size == page.size
        except (FileNotFoundError, ValueError, TypeError):  # not fetched, or a file that another hand cut or changed
            return None
        return page if whole and page.address == address and page.fetched >= since else None

    def keep(self, page: Page, pieces: Iterable[bytes]) -> Page:
        """Write the bytes, then what they are. A failure on the way leaves what was there, or nothing."""
        path, size = self.path(page.address), 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            try:
                for piece in pieces:
                    size += file.write(piece)
            except BaseException:
                Path(file.name).unlink()
                raise
        path.with_suffix(".json").unlink(missing_ok=True)
        Path(file.name).replace(path)
        return self._note(Page(**{**asdict(page), "size": size}))

    def refuse(self, page: Page) -> Page:
        """Keep why there are no bytes."""
        path = self.path(page.address)
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.unlink()
        return self._note(page)

    def drop(self, address: str) -> None:
        """Forget an answer that turned out to be none."""
        self.path(address).with_suffix(".json").unlink(missing_ok=True)
        self.path(address).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what kills left behind a day ago or more; what is younger may be another process's."""
        for partial in self.folder.rglob("*.partial"):
            with suppress(FileNotFoundError):
                if partial.stat().st_mtime < time.time() - DAY:
                    partial.unlink()

    def _note(self, page: Page) -> Page:
        path = self.path(page.address).with_suffix(".json")
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".partial", delete=False) as file:
            json.dump(asdict(page), file, indent=1, sort_keys=True)
        Path(file.name).replace(path)
        return page
