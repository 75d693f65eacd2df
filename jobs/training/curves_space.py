"""A private Space that shows a run's Trackio curves while they grow.

The curves go to a private bucket that the Space has mounted. Trackio's own way makes the token a secret of the Space
and sends it in the body of each batch; here no Space ever holds it.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, SpaceInfo, Volume
from huggingface_hub.errors import RepositoryNotFoundError
from tqdm import tqdm

from jobs.errors import UserError
from jobs.hub import explain
from jobs.hub_errors import HUB_ERRORS
from qa.redaction import redact

EVERY = 60.0  # seconds between two states of the curves there
PATIENCE = 30.0  # seconds that the end of a run waits for the last one
TAG = "footnote-curves"
MOUNT = "/data"
EMPTY = {".gitattributes", "README.md"}  # what the Hub itself puts into a new Space
FAULTS = (*HUB_ERRORS, OSError, RuntimeError, ValueError, sqlite3.Error)
APP = "import trackio\n\ntrackio.show()\n"
CARD = f"""---
title: Training curves
sdk: gradio
app_file: app.py
tags: [trackio, {TAG}]
---
Curves of a training run, as [Trackio](https://github.com/gradio-app/trackio) shows them.
"""


class CurvesSpace:
    """Copies a folder's Trackio databases to a Space's bucket from a thread of its own, which no training waits for.

    A Hub that does not answer, or refuses, is told in one line, once, and asked again at the next turn.
    """

    def __init__(self, space: str, folder: Path) -> None:
        self.space, self.folder, self.bucket = space, folder, f"{space}-curves"
        self._ended, self._told, self._ready = threading.Event(), False, False
        self._thread = threading.Thread(target=self._work, daemon=True, name="curves")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Let the last state go out, for half a minute at most."""
        self._ended.set()
        self._thread.join(PATIENCE)

    def _work(self) -> None:
        while not self._ended.wait(EVERY if self._ready or self._told else 0):
            self._turn()
        self._turn()

    def _turn(self) -> None:
        try:
            if not self._ready:
                self._make()
                self._ready = True
            self._send()
        except UserError as error:
            self._tell(str(error))
        except FAULTS as error:
            self._tell(str(explain(error, self.space)))

    def _make(self) -> None:
        """The Space and its bucket, both private, unless they are there. Raises `UserError` for a foreign Space."""
        api = HfApi()
        try:
            if self._check(api.space_info(self.space)):
                return
        except RepositoryNotFoundError:
            self._create(api)
        files = {"README.md": CARD, "app.py": APP, "requirements.txt": f"trackio=={_version()}\n"}
        operations = [CommitOperationAdd(name, text.encode()) for name, text in files.items()]
        api.create_commit(self.space, operations, commit_message="Show training curves", repo_type="space")

    def _create(self, api: HfApi) -> None:
        api.create_bucket(self.bucket, private=True, exist_ok=True)
        api.create_repo(
            self.space,
            repo_type="space",
            space_sdk="gradio",
            private=True,
            space_variables=[{"key": "TRACKIO_DIR", "value": f"{MOUNT}/trackio"}],
            space_volumes=[Volume(type="bucket", source=self.bucket, mount_path=MOUNT)],
        )

    def _check(self, info: SpaceInfo) -> bool:
        """Whether our Space has its files: an earlier start may have been cut off before it sent them."""
        ours = TAG in (info.tags or [])
        if not ours and not self._begun(info):
            raise UserError(f"train.trackio_space: {self.space} is another Space; name a new one")
        if not info.private:
            raise UserError(f"train.trackio_space: {self.space} is public; make it private, or name a new one")
        return ours

    def _begun(self, info: SpaceInfo) -> bool:
        """Whether a Space holds nothing yet and has our bucket."""
        volumes = info.runtime.volumes if info.runtime else None
        files = {file.rfilename for file in info.siblings or []}
        return files <= EMPTY and self.bucket in {volume.source for volume in volumes or []}

    def _send(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            copies = [_copy(path, Path(place) / path.name) for path in sorted(self.folder.glob("*.db"))]
            if copies:
                HfApi().batch_bucket_files(self.bucket, add=[(copy, f"trackio/{copy.name}") for copy in copies])

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            tqdm.write(f"the curves are not shown in the Space, and training goes on: {redact(reason)}", sys.stderr)


def _copy(database: Path, place: Path) -> Path:
    """A whole copy of a database that is being written to."""
    source, copy = sqlite3.connect(database), sqlite3.connect(place)
    try:
        source.backup(copy)
    finally:
        source.close()
        copy.close()
    return place


def _version() -> str:
    from importlib.metadata import version

    return version("trackio")
