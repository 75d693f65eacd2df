"""The cards of a run: rendered from its figures through the templates in `data_cards/`; no figure in them is typed."""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import ModelCardData, SpaceCardData

from jobs.card_facts import Run
from jobs.card_gguf import gguf_files, served_file, verdicts
from jobs.card_render import TAG, TEMPLATES, render
from jobs.card_results import model_index
from jobs.dataset_card import dataset_card
from jobs.published_index import index_card
from qa.artifacts import BASE_VARIABLE, DATA_VARIABLE, INDEX_VARIABLE, MODEL_VARIABLE

MODELS = ("gguf", "base_gguf")  # that a Space serves


def render_cards(run: Run) -> dict[str, str]:
    """README of each repository of the run by kind, those it has.

    Reads the base model's and ARC's own cards through HF_ENDPOINT. Raises `UserError` where a licence cannot be read.
    """
    return {kind: render_card(run, kind) for kind in run.kinds}


def render_card(run: Run, kind: str) -> str:
    """README of one kind of repository, as `render_cards` has it; names the others by `run.revisions` where it can."""
    own = {"dataset": dataset_card, "index": index_card, "adapter": _adapter, "merged": _merged, "base": _base}
    return own[kind](run) if kind in own else _gguf(run, kind)


def render_space(run: Run, revisions: dict[str, str]) -> str:
    """README of a Space that serves this run at these revisions (of gguf, base_gguf, dataset and index)."""
    data = SpaceCardData(
        title="Footnote",
        sdk="gradio",
        app_file="app.py",
        **space_header(),
        models=[getattr(run.names, kind) for kind in MODELS if kind in revisions],
        datasets=[run.names.dataset, *([run.names.index] if "index" in revisions else [])],
        tags=[TAG, "ai-research"],
        suggested_hardware="cpu-basic",
        startup_duration_timeout="30m",
        preload_from_hub=_preloaded(run, revisions),
    )
    return render("space", run, data, title="Footnote", variables=space_variables(run, revisions))


def space_variables(run: Run, revisions: dict[str, str]) -> dict[str, str]:
    """The environment of such a Space: each repository and its revision, by variable."""
    repositories = {
        MODEL_VARIABLE: "gguf",
        BASE_VARIABLE: "base_gguf",
        DATA_VARIABLE: "dataset",
        INDEX_VARIABLE: "index",
    }
    variables: dict[str, str] = {}
    for variable, kind in repositories.items():
        if kind in revisions:
            variables |= {variable: getattr(run.names, kind), f"{variable}_REVISION": revisions[kind]}
    return variables


def _preloaded(run: Run, revisions: dict[str, str]) -> list[str]:
    """What the Space's build downloads into the Hub's cache: the served files. It is documented for models alone."""
    return [
        f"{getattr(run.names, kind)} {served_file(run.folder / kind, run.steps[kind])} {revisions[kind]}"
        for kind in MODELS
        if kind in revisions
    ]


def space_header() -> dict[str, Any]:
    """How the Space looks and what it runs on; the header of this project's README, itself a Space, says the same."""
    header: dict[str, Any] = yaml.safe_load((TEMPLATES / "space.yaml").read_text(encoding="utf-8"))
    return header


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
