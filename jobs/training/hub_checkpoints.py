"""The newest checkpoint in a private repository of the Hub, so that a run outlives the machine it began on.

Each whole checkpoint replaces the former one in a single commit, sent by a thread of its own; one is left out where the
last is still under way. Every fourth time the history is squashed: else the Hub keeps, and counts, every checkpoint
that there ever was. The repository stays when the run has ended; once the adapter is published it may be deleted.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from tqdm.auto import tqdm

from jobs.errors import UserError
from jobs.hub import check_rights, commit_files, explain
from jobs.hub_errors import HUB_ERRORS
from jobs.progress import progress
from jobs.training.whole import (
    PREFIX,
    WHOLE,
    Claim,
    differences,
    files_of,
    flaw,
    newest_checkpoint,
    read_mark,
    step_of,
)

FOLDER = "checkpoint"  # in the repository
SQUASHED_EVERY = 4  # uploads: some hundred megabytes each for a model of 3 billion weights
PATIENCE = 120.0  # seconds that the end waits for the last upload
SHORT = 1.0  # seconds of waiting of which nothing is said
UNREACHED = (408, 429, 500, 502, 503, 504)
README = b"""---
library_name: peft
---
The newest checkpoint of a training run of Footnote, for a machine that goes on from it.
Keep this repository private. It can be deleted once the adapter is published.
"""
ERRORS = (*HUB_ERRORS, ConnectionError, LocalEntryNotFoundError)


class UnreachableError(UserError):
    """The Hub does not answer, so that nobody knows what it holds."""


def resume_from(checkpoints: Path, claim: Claim, hub: HubCheckpoints | None) -> Path | None:
    """The newest whole checkpoint of here and the Hub, which is fetched; None where the training has to begin.

    Where the Hub does not answer, a local one is gone on from. Without one it is an error: hours that are paid for and
    saved there would be spent again.
    """
    local = newest_checkpoint(checkpoints, claim)
    if hub is None:
        return local
    hub.newest = local or hub.newest  # sent in the end, if not before
    try:
        there = hub.look()
        hub.check_rights()
        if there and there[1]["step"] > step_of(hub.newest):
            return hub.fetch(*there, checkpoints)
    except UnreachableError as error:
        if local is None:
            raise UserError(f"{error}; or leave out train.checkpoints_to to train without what may be there") from None
        print(f"{error}; going on from {local}", file=sys.stderr)
    return local


class HubCheckpoints:
    """One repository and the training that may use it. As a context it ends when the last checkpoint is there."""

    def __init__(self, repository: str, claim: Claim) -> None:
        self.repository, self.claim = repository, claim
        self.newest = self.uploaded = Path(f"{PREFIX}0")
        self.uploads = 0
        self.thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._finish()

    @property
    def uploading(self) -> Path | None:
        """The checkpoint whose files are being read."""
        return self.sent if self._busy() else None

    def check_rights(self) -> None:
        """Raise `UserError` unless the token may write there."""
        check_rights(self.repository.partition("/")[0], "train.checkpoints_to")

    def look(self) -> tuple[str, dict[str, Any]] | None:
        """Commit and mark of what is there; None where nothing is. What is public or not this training's is refused."""
        try:
            info = HfApi().model_info(self.repository)
        except RepositoryNotFoundError:
            return None
        except ERRORS as error:
            raise self._explained(error) from None
        if not info.private:
            raise self._refusal("is public, and a checkpoint is for nobody else: make it private there")
        held = {entry.rfilename for entry in info.siblings or []} - {".gitattributes", "README.md"}
        if not held:
            return None
        foreign = {name for name in held if not name.startswith(f"{FOLDER}/")}
        if foreign or f"{FOLDER}/{WHOLE}" not in held:
            raise self._refusal(f"holds {min(foreign or held)}, which is of no checkpoint and would be lost; empty it")
        mark = self._mark(info.sha)
        if other := differences(mark, self.claim):
            step = mark["step"]
            raise self._refusal(f"holds step {step} of a training with another {other}; delete it if nobody needs it")
        if set(mark["files"]) | {WHOLE} != {name.removeprefix(f"{FOLDER}/") for name in held}:
            raise self._refusal(f"its {WHOLE} names other files than it holds; delete it to train from the beginning")
        return info.sha, mark

    def fetch(self, commit: str, mark: dict[str, Any], checkpoints: Path) -> Path:
        """Put the checkpoint of a commit beside the local ones; a damaged one is refused."""
        target = checkpoints / f"{PREFIX}{mark['step']}"
        checkpoints.mkdir(exist_ok=True)
        for left in checkpoints.glob("from-hub-*"):  # by a kill
            shutil.rmtree(left)
        with TemporaryDirectory(prefix="from-hub-", dir=checkpoints) as place:
            for name in progress([*mark["files"], WHOLE], "from the Hub", unit="file"):
                self._download(name, commit, Path(place))
            there = Path(place) / FOLDER
            if reason := flaw(there, mark):
                raise self._refusal(f"{reason}; delete it to train from the beginning")
            for name in (*mark["files"], WHOLE):  # files alone, the mark last: a bucket cannot rename folders
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.move(there / name, target / name)
        self.newest = self.uploaded = target
        return target

    def put(self, checkpoint: Path) -> None:
        """Send a whole checkpoint, unless the last is still under way."""
        self.newest = checkpoint
        if not self._busy():
            self.sent = checkpoint
            self.thread = threading.Thread(target=self._upload, daemon=True)
            self.thread.start()

    def _busy(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def _finish(self) -> None:
        until = time.monotonic() + PATIENCE
        self._wait(until)
        if step_of(self.newest) > step_of(self.uploaded):  # left out, or not taken: once more
            self.put(self.newest)
            self._wait(until)
        if self._busy():
            self._tell(f"{self.newest.name} was not sent within {PATIENCE:.0f} seconds")

    def _wait(self, until: float) -> None:
        if self.thread is None:
            return
        self.thread.join(SHORT)
        if self._busy():
            self._tell(f"waiting for {self.sent.name} to be sent, {PATIENCE:.0f} seconds at most")
            self.thread.join(max(0.0, until - time.monotonic()))

    def _upload(self) -> None:
        checkpoint = self.sent
        try:
            there = self.look()
            if there and there[1]["step"] > step_of(checkpoint):
                return self._tell(f"holds a later step than {checkpoint.name}: another machine trains the same")
            files = {f"{FOLDER}/{name}": checkpoint / name for name in (*files_of(checkpoint), WHOLE)}
            commit_files(self.repository, "model", {"README.md": README, **files}, private=True, title=checkpoint.name)
        except (UserError, OSError) as error:
            return self._tell(f"{checkpoint.name} was not sent ({error}); the training is not affected")
        self.uploaded, self.uploads = checkpoint, self.uploads + 1
        if self.uploads % SQUASHED_EVERY == 0:
            self._squash(checkpoint.name)

    def _squash(self, title: str) -> None:
        try:
            HfApi().super_squash_history(self.repository, commit_message=title)
        except ERRORS as error:
            self._tell(f"its history was not squashed ({explain(error, 'the Hub')}); the training is not affected")

    def _mark(self, commit: str) -> dict[str, Any]:
        with TemporaryDirectory() as place:
            mark = read_mark(self._download(WHOLE, commit, Path(place)))
        if mark is None:
            raise self._refusal(f"its {WHOLE} cannot be read by this version; delete it to train from the beginning")
        return mark

    def _download(self, name: str, commit: str, place: Path) -> Path:
        try:
            return Path(hf_hub_download(self.repository, f"{FOLDER}/{name}", revision=commit, local_dir=place))
        except ERRORS as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> UserError:
        status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
        unreached = status in UNREACHED if status else not isinstance(error, HFValidationError)
        told = explain(error, f"train.checkpoints_to {self.repository}")
        return UnreachableError(str(told)) if unreached else told

    def _refusal(self, reason: str) -> UserError:
        return UserError(f"train.checkpoints_to: {self.repository} {reason}, or name another")

    def _tell(self, words: str) -> None:
        tqdm.write(f"{self.repository}: {words}", file=sys.stderr)
