"""The card of a run's data set: what it holds, where it is from, how it was made, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from huggingface_hub import DatasetCardData

from jobs.card_documents import MOST_DOCUMENTS
from jobs.card_facts import OWN, Run
from jobs.card_render import TAG, render
from jobs.dataset_facts import CONTAMINATION, PASSAGES, RECENT, SEED, Data
from jobs.decontamination.evidence import FEWEST_WORDS
from jobs.decontamination.items import METHODS, TRIVIAL
from jobs.licences import documents_licence
from qa.records import Passage, Question

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def dataset_card(run: Run) -> str:
    """README of the data set. Raises `UserError` where a file of its steps cannot be read."""
    data = Data(run)
    return render(
        "dataset",
        run,
        _front_matter(run, data),
        title=run.names.dataset.split("/")[1],
        data=data,
        columns=list(Question.model_fields),
        passage_columns=[*Passage.model_fields, "split"],
        methods=METHODS,
        trivial=TRIVIAL,
        least_evidence=FEWEST_WORDS,
        seed=SEED,
        recent=RECENT,
        most_documents=MOST_DOCUMENTS,
        contamination_file=CONTAMINATION,
    )


def _front_matter(run: Run, data: Data) -> DatasetCardData:
    configs = [_config(name, parts) for name, parts in data.rows.items()]
    return DatasetCardData(
        language="en",
        license=_licences(run, data),
        pretty_name=run.names.dataset.split("/")[1],
        task_categories=["question-answering", "multiple-choice"],
        size_categories=next((name for limit, name in SIZES if data.size < limit), "1M<n<10M"),
        source_datasets=[run.arc] if run.arc else None,
        tags=[TAG, "ai-research"],
        configs=[*configs, *([_config(PASSAGES, ["train"])] if data.passages else [])],
    )


def _config(config: str, parts: Iterable[str]) -> dict[str, Any]:
    files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in parts]
    return {"config_name": config, **({"default": True} if config == OWN else {}), "data_files": files}


def _licences(run: Run, data: Data) -> str | list[str]:
    """Every licence in the data set; `other` stands for one that the Hub does not know, or that no document names."""
    rows = chain(run.questions, data.passages)
    arc = [run.arc_licence] if run.arc_source else []
    return documents_licence(chain((row.licence for row in rows), arc)).license
