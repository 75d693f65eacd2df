"""The steps of the loop in their order, each called with what the configuration and the run's folders give it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.config import RunConfig
from jobs.errors import UserError
from jobs.gguf_export.names import file_name
from jobs.step import StepRecord

if TYPE_CHECKING:
    from jobs.export import Calibration
    from jobs.gguf_export.writer import Provenance
    from qa.artifacts import Repositories

Outcome = tuple[StepRecord, bool]
TUNED = {"finetune": "footnote", "description": "Fine-tuned to answer questions about AI research"}  # of a GGUF file
FAMILY = re.compile(r"[A-Za-z]+[\d.]*")  # the first word of a model's name: Qwen2.5


def steps(config: RunConfig, run: Path) -> Iterator[tuple[str, str, Any]]:
    """(name, folder, function of the output folder) of every step of this configuration."""
    base = str(run / "base") if config.base.pretrain else config.base.model
    if config.publish.namespace and config.publish.space:
        yield "build wheel", "wheel", _build_wheel  # first: where it fails, minutes are lost and not hours
    yield "collect", "passages", lambda out: _collect(config, out)
    yield "build index", "index", lambda out: _build_index(run, out)
    yield "write questions", "questions", lambda out: _write_questions(config, run, out)
    if config.base.pretrain:
        yield "pretrain base", "base", lambda out: _pretrain(config, run, out)
    yield "build data set", "dataset", lambda out: _build_dataset(config, run, base, out)
    yield "train adapter", "adapter", lambda out: _train(config, run, base, out)
    yield "merge", "merged", lambda out: _merge(config, run, base, out)
    yield "export", "gguf", lambda out: _export(config, run, out)
    yield "export base", "base_gguf", lambda out: _export_base(config, run, base, out)
    yield "export adapter", "adapter_gguf", lambda out: _export_adapter(config, run, base, out)
    if config.ladder.types:
        yield "ladder", "ladder", lambda out: _ladder(config, run, out)
    if config.examples.questions:
        yield "answer examples", "examples", lambda out: _answer_examples(config, run, out)
    yield "evaluate", "evaluation", lambda out: _evaluate(config, run, base, out)
    if config.publish.namespace:
        yield "publish", "cards", lambda out: _publish(config, run)


def _collect(config: RunConfig, out: Path) -> Outcome:
    from jobs.collect import collect

    if not config.documents.named:
        raise UserError("no documents: name some with --documents, --arxiv, --url or --hub, or under documents")
    return collect(out, documents=config.documents, scale=config.scale)


def _build_index(run: Path, out: Path) -> Outcome:
    from jobs.build_index import build_index

    return build_index(run / "passages", out)


def _write_questions(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.write_questions import write_questions

    return write_questions(
        run / "passages",
        out,
        writer=config.writer,
        dataset=config.dataset,
        seed=config.seed,
        index=run / "index",
        scale=config.scale,
    )


def _pretrain(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.build_dataset import check_sides
    from jobs.pretrain import pretrain

    check_sides(run / "questions", config.dataset)  # before the minutes of work that a data set needs first

    return pretrain(run / "passages", out, shape=config.base.pretrain, seed=config.seed)


def _build_dataset(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.build_dataset import build_dataset

    return build_dataset(
        run / "questions",
        out,
        tokenizer=base,
        revision=config.base.revision,
        dataset=config.dataset,
        seed=config.seed,
        passages=run / "passages",
        index=run / "index",
        evaluated=config.evaluation.tasks if "tasks" in config.evaluation.model_fields_set else (),
    )


def _train(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.train import train

    return train(
        run / "dataset",
        out,
        base=base,
        revision=config.base.revision,
        settings=config.train,
        max_length=config.dataset.max_length,
        seed=config.seed,
    )


def _merge(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.merge import merge

    return merge(base, run / "adapter", out, revision=config.base.revision)


def _export(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.export import export

    names = _repositories(config)
    made = TUNED | (
        {"repository": names.gguf, "source_repository": names.merged, "datasets": (names.dataset,)} if names else {}
    )
    provenance = _provenance(config, config.publish.name, **made)
    calibration = _calibration(config, run)
    return export(run / "merged", out, types=config.export.types, provenance=provenance, calibration=calibration)


def _export_base(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    """The base by the same quantiser: what the page compares with, whatever others have published of it."""
    from jobs.export import export
    from jobs.merge import base_folder

    names = _repositories(config)
    made = {"repository": names.base_gguf} if names else {}
    provenance = _provenance(config, f"{config.publish.name}-base", **made)
    folder = base_folder(base, config.base.revision)
    types = (config.export.served,)
    return export(folder, out, types=types, provenance=provenance, calibration=_calibration(config, run))


def _calibration(config: RunConfig, run: Path) -> Calibration:
    from jobs.export import Calibration

    return Calibration(run / "dataset", tokens=config.export.imatrix_tokens, seed=config.seed)


def _provenance(config: RunConfig, name: str, **made: Any) -> Provenance:
    """What a file says of itself: its name and base, and what else is known of how it was made."""
    from jobs.gguf_export.writer import Provenance

    names, own = _repositories(config), config.base.pretrain is not None
    origin = (names.base if names else "") if own else "" if Path(config.base.model).is_dir() else config.base.model
    known = {"base_model": origin}
    if not own and origin:
        family = FAMILY.match(origin.rpartition("/")[2])
        known |= _licence(config) | {"base_revision": config.base.revision, "basename": family[0] if family else ""}
    return Provenance(name, organization=config.publish.namespace, quantized_by="Footnote", **known, **made)


def _licence(config: RunConfig) -> dict[str, str]:
    """The base's own licence; the documents' licences of a base that was made from them are in its card."""
    from jobs.licences import base_licence

    found = base_licence(config.base.model, config.base.revision)
    words = {"licence": found.license, "licence_name": found.license_name, "licence_link": found.license_link}
    return {key: value if isinstance(value, str) else ", ".join(value) for key, value in words.items() if value}


def _export_adapter(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.export_adapter import export_adapter
    from jobs.merge import base_folder

    names = _repositories(config)
    made = {"repository": names.adapter, "datasets": (names.dataset,)} if names else {}
    return export_adapter(
        run / "adapter",
        out,
        base=base_folder(base, config.base.revision),
        base_gguf=run / "base_gguf",
        merged=run / "merged",
        dataset=run / "dataset",
        provenance=_provenance(config, config.publish.name, **TUNED, **made),
        seed=config.seed,
    )


def _ladder(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.ladder import ladder

    asked, first = config.ladder, config.evaluation.formulations[0]
    return ladder(
        run / "gguf",
        run / "dataset",
        out,
        types=asked.types,
        tokens=asked.tokens,
        questions=asked.questions,
        seed=config.seed,
        passages=run / "passages",
        formulation="letter" if first == "chat" else first,
    )


def _answer_examples(config: RunConfig, run: Path, out: Path) -> Outcome:
    from jobs.answer_examples import answer_examples

    return answer_examples(run / "gguf", out, questions=config.examples.questions)


def _repositories(config: RunConfig) -> Repositories | None:
    from qa.artifacts import Repositories

    return Repositories(config.publish.namespace, config.publish.name) if config.publish.namespace else None


def _evaluate(config: RunConfig, run: Path, base: str, out: Path) -> Outcome:
    from jobs.evaluate import evaluate_models

    base = base if config.base.pretrain else f"{base}@{config.base.revision}"
    models: dict[str, Path | str] = {
        "base": base,
        "adapter": run / "adapter",
        "merged": run / "merged",
        "gguf": run / "gguf" / file_name(config.publish.name, config.export.served),
    }
    return evaluate_models(
        run / "dataset",
        models,
        out,
        evaluation=config.evaluation,
        base=base,
        seed=config.seed,
        passages=run / "passages",
    )


def _build_wheel(out: Path) -> Outcome:
    from jobs.build_wheel import build_wheel

    return build_wheel(out)


def _publish(config: RunConfig, run: Path) -> Outcome:
    from jobs.publish import publish

    names = config.publish
    space = names.name if names.space else ""
    return publish(run, namespace=names.namespace, name=names.name, private=names.private, space=space)
