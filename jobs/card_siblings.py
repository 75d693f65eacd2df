"""What a card says of the repositories published with it: those before it by commit, the later ones by name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jobs.card_facts import Run

DATA = ("dataset", "index")
WORDS = {
    "dataset": "data set",
    "index": "passage index",
    "base": "base model",
    "adapter": "adapter",
    "merged": "merged weights",
    "base_gguf": "base model as GGUF",
    "gguf": "fine-tuned model as GGUF",
}
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Sibling:
    """Another repository of the same run; `revision` is empty where its commit is not known yet."""

    what: str
    repository: str
    address: str
    revision: str


def siblings(run: Run, kind: str) -> list[Sibling]:
    """The others in the order of publishing, after the base model on the Hub where the run trained none."""
    found = [_sibling(run, other) for other in run.kinds if other != kind]
    if run.own_base or kind in DATA:
        return found
    revision = run.base_revision if _COMMIT.fullmatch(run.base_revision) else ""
    return [Sibling(WORDS["base"], run.base, f"https://huggingface.co/{run.base}", revision), *found]


def _sibling(run: Run, kind: str) -> Sibling:
    repository = getattr(run.names, kind)
    address = f"https://huggingface.co/{'datasets/' if kind in DATA else ''}{repository}"
    return Sibling(WORDS[kind], repository, address, run.revisions.get(kind, ""))
