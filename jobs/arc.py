"""ARC's questions with their official splits, from the Hub or from a folder laid out like its repository.

Damaged rows are skipped, with the reason. `load_hub` reads any other data set there, with the same errors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.documents import Rejection
from jobs.errors import UserError, first_line
from qa.records import SPLITS, Question, RecordError, Split


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
    with _cache(repository) as cache:
        for config in configs:
            loaded = _load(repository, config, origin["revision"], cache)
            for split in SPLITS:
                for row in _rows(loaded, repository, config, split):
                    try:
                        questions[split].append(read_row(row, config, repository, origin["licence"]))
                    except RecordError as error:
                        name = f"{config}/{split}/{row.get('id', '?')}"
                        text = str(row.get("question", ""))
                        damaged.append(Rejection(name=name, reason=str(error), stage="schema", text=text))
    return questions, damaged, origin


def _cache(repository: str) -> AbstractContextManager[str | None]:
    """Where `datasets` prepares its files: for a folder a place of its own, removed after reading.

    Its common cache knows a folder by its last name and layout, not by what is in it, and would give an old one.
    """
    return TemporaryDirectory(prefix="footnote-arc-") if Path(repository).is_dir() else nullcontext()


def _rows(loaded: Any, repository: str, config: str, split: Split) -> Any:
    if split not in loaded:
        raise UserError(f"{repository}: configuration {config} has no {split} split; ARC has {', '.join(SPLITS)}")
    return loaded[split]


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
    from huggingface_hub import HfApi

    revision = ""
    if Path(repository).is_dir():
        licence = _card_licence(Path(repository) / "README.md")
    else:
        info = from_hub(repository, lambda: HfApi().dataset_info(repository))
        revision, licence = info.sha or "main", (info.card_data or {}).get("license")
    stated = ", ".join(licence) if isinstance(licence, list) else licence or ""
    return {"repository": repository, "revision": revision, "licence": stated}


def _card_licence(card: Path) -> Any:
    from huggingface_hub import DatasetCard
    from yaml import YAMLError

    if not card.is_file():
        raise UserError(f"{card.parent}: no README.md that names its configurations and licence; add one")
    try:
        return DatasetCard.load(card).data.license
    except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a block that is no mapping
        raise UserError(f"{card}: its metadata block is not valid YAML ({first_line(error)}); mend it") from None


def hub_configs(repository: str) -> list[str]:
    """The configurations of a data set on the Hub; errors as `load_arc`'s."""
    from datasets import get_dataset_config_names

    return from_hub(repository, lambda: get_dataset_config_names(repository))


def load_hub(repository: str, config: str) -> tuple[Any, dict[str, str]]:
    """The splits of one configuration of any data set on the Hub, and what was loaded; errors as `load_arc`'s."""
    origin = _origin(repository)
    return _load(repository, config, origin["revision"], None), origin


def _load(repository: str, config: str, revision: str, cache: str | None) -> Any:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()  # one for every split, over in a second

    return from_hub(
        repository,
        lambda: load_dataset(repository, config, revision=revision or None, cache_dir=cache),
        config,
    )


def from_hub(repository: str, call: Any, config: str = "") -> Any:
    """What `call` returns. Whatever the Hub or the files of a configuration do wrong is a `UserError` that names it."""
    import httpx2
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.errors import RepositoryNotFoundError as NotFound
    from yaml import YAMLError

    try:
        return call()
    except (NotFound, DatasetNotFoundError, HFValidationError) as error:
        reason = f"no such data set, or no right to it; check name and HF_TOKEN ({first_line(error)})"
    except (httpx2.TransportError, ConnectionError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = f"the Hub does not answer; check network and HF_ENDPOINT ({first_line(error)})"
    except HfHubHTTPError as error:
        reason = f"the Hub refused; check HF_TOKEN ({first_line(error)})"
    except DatasetsError as error:
        reason = _damage(repository, config, error)
    except (FileNotFoundError, YAMLError, ValueError) as error:
        what = f"configuration {config!r}" if config else "its card"
        reason = f"{what} cannot be had ({first_line(error)}); check the card and the files that it names"
    raise UserError(f"{repository}: {reason}")


def _damage(repository: str, config: str, error: Exception) -> str:
    """Which files of a configuration are damaged: by name in a folder; what the Hub sent bears no names any more."""
    from pyarrow import ArrowException, parquet

    broken = []
    for path in sorted(Path(repository).glob("**/*.parquet")):
        try:
            parquet.read_metadata(path)
        except (ArrowException, OSError):
            broken.append(path.relative_to(repository).as_posix())
    where = f" in {', '.join(broken)}" if broken else ""
    return f"configuration {config!r} holds damaged data{where} ({first_line(error.__cause__ or error)}); get it anew"
