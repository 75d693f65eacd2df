"""Whether an index is of the passages that it is to search: by their hash, as others may be of the same number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from jobs.errors import UserError
from qa.records import Passage
from qa.retrieval import PASSAGES, Index


def check_index(index: Index, folder: Path, passages: Iterable[Passage]) -> None:
    """Raise `UserError` where the index of this folder is not of these passages in this order."""
    digest = hashlib.sha256()
    for passage in passages:  # line by line as qa.retrieval.build writes them
        digest.update(passage.model_dump_json().encode() + b"\n")
    if digest.hexdigest() != index.manifest.files[PASSAGES].sha256:
        raise UserError(f"{folder}: not an index of these passages; build it again with python -m jobs.build_index")
