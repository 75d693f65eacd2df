"""ARC's questions with their official splits, from the Hub or from a folder laid out like its repository.

Damaged rows are skipped, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.documents import Rejection
from jobs.errors import UserError
from qa.records import Question, RecordError, Split

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def task_name(config: str) -> str:
    """`ARC-Challenge` → `arc_challenge`."""
    return re.sub(r"\W+", "_", config).lower()


def load_arc(
    repository: str, configs: Sequence[str]
) -> tuple[dict[Split, list[Question]], list[Rejection], dict[str, Any]]:
    """Questions by split, damaged rows, and what was loaded (repository, commit, licence).

    Raises `UserError` where the repository, a configuration or a split is missing, or the Hub is down.
    """
    origin = _origin(repository)
    questions: dict[Split, list[Question]] = {split: [] for split in SPLITS}
    damaged: list[Rejection] = []
    for config in configs:
        loaded = _load(repository, config, origin["revision"])
        for split in SPLITS:
            if split not in loaded:
                raise UserError(
                    f"{repository}: configuration {config} has no {split} split; ARC has {', '.join(SPLITS)}"
                )
            for row in loaded[split]:
                try:
                    questions[split].append(read_row(row, config, repository, origin["licence"]))
                except RecordError as error:
                    damaged.append(Rejection(name=f"{config}/{split}/{row.get('id', '?')}", reason=str(error)))
    return questions, damaged, origin


def read_row(row: dict[str, Any], config: str, source: str, licence: str) -> Question:
    """A row of ARC's schema. Raises `RecordError` for a damaged one."""
    question = Question.from_arc(row, task=task_name(config), source=source, licence=licence)
    if not all(question.choices):
        raise RecordError(f"row {row['id']!r}: an option is empty")
    if len(set(question.choices)) < len(question.choices):
        raise RecordError(f"row {row['id']!r}: two options are the same")
    for label, choice in zip(question.labels, question.choices, strict=True):
        if re.match(rf"\S{{1,2}} {re.escape(label)} \S", choice) and label.isalpha() and label != "A":
            raise RecordError(f"row {row['id']!r}: two options have run together in option {label}")
    return question


def _origin(repository: str) -> dict[str, str]:
    """The repository's commit and licence, as its own card states it; a folder has no commit."""
    from huggingface_hub import DatasetCard, HfApi

    revision = ""

    if Path(repository).is_dir():
        card = Path(repository) / "README.md"
        if not card.is_file():
            raise UserError(f"{repository}: no README.md that names its configurations and licence; add one")
        licence = DatasetCard.load(card).data.license
    else:
        info = _from_hub(repository, lambda: HfApi().dataset_info(repository))
        revision, licence = info.sha or "main", (info.card_data or {}).get("license")
    stated = ", ".join(licence) if isinstance(licence, list) else licence or ""
    return {"repository": repository, "revision": revision, "licence": stated}


def _load(repository: str, config: str, revision: str) -> Any:
    from datasets import load_dataset

    return _from_hub(repository, lambda: load_dataset(repository, config, revision=revision or None), config)


def _from_hub(repository: str, call: Any, config: str = "") -> Any:
    import httpx2
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.errors import RepositoryNotFoundError as NotFound

    try:
        return call()
    except (NotFound, DatasetNotFoundError, HFValidationError) as error:
        reason = f"no such data set, or no right to it; check name and HF_TOKEN ({_line(error)})"
    except (httpx2.TransportError, ConnectionError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = f"the Hub does not answer; check network and HF_ENDPOINT ({_line(error)})"
    except HfHubHTTPError as error:
        reason = f"the Hub refused; check HF_TOKEN ({_line(error)})"
    except ValueError as error:
        if not config or config not in str(error):
            raise
        reason = f"has no configuration {config!r} ({_line(error)})"
    raise UserError(f"{repository}: {reason}")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
