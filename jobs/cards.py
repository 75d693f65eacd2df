"""The cards of a run: rendered from its figures through the templates in `data_cards/`; no figure in them is typed."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import yaml
from huggingface_hub import DatasetCardData, ModelCardData, SpaceCardData

from jobs.card_facts import ARC, OWN, Run
from jobs.card_gguf import gguf_files, served_file, verdicts
from jobs.card_render import ROOT, render
from jobs.card_results import model_index
from jobs.licences import count_licences, documents_licence
from qa.artifacts import BASE_VARIABLE, DATA_VARIABLE, MODEL_VARIABLE
from qa.records import SPLITS, Question

EXAMPLES, SEED = 10, 17  # rows shown in the data set's card
TAG = "footnote"  # in the front matter of every card: how a repository of ours is known
SPACE_KEYS = ("emoji", "colorFrom", "colorTo", "sdk_version", "python_version", "license", "short_description")


def render_cards(run: Run) -> dict[str, str]:
    """README of each repository of the run by kind: dataset, base, adapter, merged, base_gguf, gguf (those it has).

    Reads the base model's and ARC's own cards through HF_ENDPOINT. Raises `UserError` where a licence cannot be read.
    """
    rendered = {"dataset": _dataset(run), "adapter": _adapter(run), "merged": _merged(run)}
    if run.own_base:
        rendered["base"] = _base(run)
    for kind in ("base_gguf", "gguf"):
        if kind in run.steps:
            rendered[kind] = _gguf(run, kind)
    return rendered


def render_space(run: Run, revisions: dict[str, str]) -> str:
    """README of a Space that serves this run at these revisions (of gguf, base_gguf and dataset)."""
    repositories = {MODEL_VARIABLE: "gguf", BASE_VARIABLE: "base_gguf", DATA_VARIABLE: "dataset"}
    variables: dict[str, str] = {}
    for variable, kind in repositories.items():
        if kind in revisions:
            variables |= {variable: getattr(run.names, kind), f"{variable}_REVISION": revisions[kind]}
    data = SpaceCardData(
        title="Footnote",
        sdk="gradio",
        app_file="app.py",
        **space_header(),
        models=[getattr(run.names, kind) for kind in ("gguf", "base_gguf") if kind in revisions],
        datasets=[run.names.dataset],
        tags=[TAG, "ai-research"],
    )
    return render("space", run, data, title="Footnote", variables=variables)


def space_header() -> dict[str, Any]:
    """How the Space looks and what it runs on, as the header of this project's README, itself a Space, has it."""
    header = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    return {key: header[key] for key in SPACE_KEYS}


def _adapter(run: Run) -> str:
    data = _model_data(run, "adapter", base=run.base, relation="adapter", library="peft", tags=["lora"])
    step = run.steps.get("adapter_gguf")
    lora = step.figures["verified"] if step else None
    return render("adapter", run, data, title=run.names.adapter.split("/")[1], licence=run.licence, lora=lora)


def _merged(run: Run) -> str:
    data = _model_data(run, "merged", base=run.base, relation="merge", library="transformers", tags=["lora"])
    return render("merged", run, data, title=run.names.merged.split("/")[1], licence=run.licence)


def _base(run: Run) -> str:
    data = _model_data(run, "base", library="transformers", tags=["toy"])
    return render("base", run, data, title=run.names.base.split("/")[1], licence=run.licence)


def _gguf(run: Run, kind: str) -> str:
    parent = run.names.merged if kind == "gguf" else run.base
    repository = getattr(run.names, kind)
    files, default = gguf_files(run.steps[kind]), served_file(run.folder / kind, run.steps[kind])
    data = _model_data(run, kind, base=parent, relation="quantized", library="gguf", tags=["llama.cpp", "ollama"])
    return render(
        "gguf",
        run,
        data,
        title=repository.split("/")[1],
        licence=run.licence,
        fine_tuned=kind == "gguf",
        parent=parent,
        repository=repository,
        files=files,
        default=next(file for file in files if file["name"] == default),
        verdicts=verdicts(run.folder / kind, run.steps[kind]),
        imatrix=run.steps[kind].figures["imatrix"],
    )


def _dataset(run: Run) -> str:
    splits = {config: {split: rows for split in SPLITS if (rows := run.rows(config, split))} for config in (OWN, ARC)}
    arc_rows = [row for rows in splits[ARC].values() for row in rows]
    total = sum(len(rows) for parts in splits.values() for rows in parts.values())
    data = DatasetCardData(
        language="en",
        license=_licences(run),
        pretty_name=run.names.dataset.split("/")[1],
        task_categories=["question-answering", "multiple-choice"],
        size_categories=_size_category(total),
        source_datasets=[run.arc] if run.arc else None,
        tags=[TAG, "ai-research"],
        configs=[_config(config, parts) for config, parts in splits.items() if parts],
    )
    test = sorted(splits[OWN].get("test", []), key=lambda row: row.id)
    return render(
        "dataset",
        run,
        data,
        title=run.names.dataset.split("/")[1],
        parts_of_data=[_count(name, split, rows) for name, parts in splits.items() for split, rows in parts.items()],
        columns=list(Question.model_fields),
        seed=SEED,
        examples=random.Random(SEED).sample(test, min(EXAMPLES, len(test))),
        licences={OWN: count_licences(run.questions), ARC: count_licences(arc_rows)},
    )


def _count(config: str, split: str, rows: list[Question]) -> dict[str, Any]:
    choice = sum(bool(row.choices) for row in rows)
    documents = len({row.document for row in rows})
    counts = {"rows": len(rows), "choice": choice, "open": len(rows) - choice, "documents": documents}
    return {"config": config, "split": split, **counts}


def _config(config: str, parts: Iterable[str]) -> dict[str, Any]:
    files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in parts]
    return {"config_name": config, **({"default": True} if config == OWN else {}), "data_files": files}


def _licences(run: Run) -> str | list[str]:
    """Every licence in the data set; `other` stands for documents that name one the Hub does not know."""
    own = documents_licence(row.licence for row in run.questions).license
    arc = [run.arc_licence] if run.arc_source else []
    found = list(dict.fromkeys([*([own] if isinstance(own, str) else own), *arc]))
    return found[0] if len(found) == 1 else found


def _size_category(rows: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < limit:
            return name
    return "1M<n<10M"


def _model_data(
    run: Run, kind: str, *, library: str, tags: list[str], base: str | None = None, relation: str | None = None
) -> ModelCardData:
    repository = getattr(run.names, kind)
    return ModelCardData(
        base_model=base,
        base_model_relation=relation,
        datasets=None if kind.startswith("base") else [run.names.dataset, *([run.arc] if run.arc else [])],
        language="en",
        library_name=library,
        license=run.licence.license,
        license_name=run.licence.license_name,
        license_link=run.licence.license_link,
        pipeline_tag="text-generation",
        tags=[TAG, "question-answering", "ai-research", *tags],
        model_name=repository.split("/")[1],
        eval_results=model_index(run, kind) or None,
    )
