"""Which files of a run go to which repository: an allow-list for each, so that no pickle and no log is published.

Paths of this machine do not travel: where a configuration names the folder a model was loaded from, the published copy
names the repository.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.card_facts import ARC, OWN, Run
from jobs.card_gguf import served_file
from jobs.card_results import eval_results
from jobs.dataset_facts import CONTAMINATION, PASSAGES, READING, RECENT, Data, PublishedPassage
from jobs.errors import UserError
from jobs.gguf_export.ollama import ollama_files
from jobs.hub import Content, Kind
from jobs.licence_names import spdx_name
from jobs.page_files import data_files, model_files
from jobs.published_index import PublishedIndex
from jobs.step import file_sha256
from qa.artifacts import METRICS_FILE
from qa.gguf_file import GgufError, GgufHeader, check_gguf
from qa.records import SPLITS, Passage
from qa.retrieval import FILES, MANIFEST

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
WEIGHTS = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json", *TOKENIZER)
ALLOWED: dict[str, tuple[str, ...]] = {  # of a data set not rejected.parquet: it holds words under refused licences
    "dataset": (
        *(f"{config}/{split}.parquet" for config in (OWN, READING, ARC) for split in SPLITS),
        f"{OWN}/{RECENT}.parquet",
        f"{PASSAGES}/train.parquet",
        CONTAMINATION,
    ),
    "index": (MANIFEST, *FILES),
    "base": WEIGHTS,
    "adapter": ("adapter_config.json", "adapter_model.safetensors", "report.md", "*.png", *TOKENIZER),
    "merged": WEIGHTS,
    "base_gguf": (),  # what the gate saw, by its record
    "gguf": (),
}
DATA_KINDS = ("dataset", "index")  # published as data sets; the others as models
NEEDED = {
    "dataset": f"{OWN}/train.parquet",
    "index": MANIFEST,
    "base": "config.json",
    "adapter": "adapter_model.safetensors",
    "merged": "config.json",
    "base_gguf": "*.gguf",
    "gguf": "*.gguf",
}
EVALUATED = ("adapter", "merged", "gguf")  # repositories that carry the figures of the evaluation
WHEEL, WHEELS = "wheel", "wheels"  # the step's folder, and where its wheel lies beside the GGUF files


@dataclass(frozen=True)
class Staged:
    """A repository as it is to be: path in it → a file of the run, or bytes."""

    kind: str
    repository: str
    repo_type: Kind
    files: dict[str, Content]


def stage(run: Run, kind: str, card: str, place: Path) -> Staged:
    """Collect the files of one repository. Raises `UserError` where a needed file is absent or not whole.

    `place` is the folder in which an index is built that leaves out what may not be published.
    """
    folder = PublishedIndex(run).folder(place) if kind == "index" else run.folder / kind
    paths = [path for pattern in ALLOWED[kind] for path in sorted(folder.glob(pattern)) if path.is_file()]
    files: dict[str, Content] = {path.relative_to(folder).as_posix(): path for path in paths}
    if not any(folder.glob(NEEDED[kind])):
        raise UserError(f"{folder}: no {NEEDED[kind]}; run the step that makes it again")
    files |= _rewritten(run, kind, files) | {"README.md": card.encode()}
    files |= _of_data(run, kind) if kind in DATA_KINDS else _of_model(run, kind)
    return Staged(kind, getattr(run.names, kind), "dataset" if kind in DATA_KINDS else "model", files)


def renewed(run: Run, staged: Staged, card: str) -> Staged:
    """The same repository with its card and configurations as they are now that more revisions are known."""
    return replace(
        staged, files=staged.files | _rewritten(run, staged.kind, staged.files) | {"README.md": card.encode()}
    )


def _of_data(run: Run, kind: str) -> dict[str, Content]:
    """What a data set has beside its own files, after a look at the licences of its passages."""
    if kind == "index":
        _check_licences(run, PublishedIndex(run).passages, run.folder / kind)
        return {}
    _check_licences(run, Data(run).passages, run.folder / kind / PASSAGES)
    return data_files(run) | _arc_card(run)


def _of_model(run: Run, kind: str) -> dict[str, Content]:
    """What a model has beside its weights: licence, figures, and what its GGUF files come with."""
    files: dict[str, Content] = dict(run.licence.files)
    if kind in EVALUATED:
        files |= _evaluation(run) | eval_results(run, kind, getattr(run.names, kind))
    if kind == "adapter" and "adapter_gguf" in run.steps:
        files |= _as_verified(run, "adapter_gguf")
    if kind.endswith("gguf"):
        files |= _as_verified(run, kind) | _for_ollama(run, kind)
    if kind == "gguf":
        files |= {name: run.folder / name for name in run.ladder_pictures} | model_files(run) | _wheel(run)
    return files


def _rewritten(run: Run, kind: str, files: dict[str, Content]) -> dict[str, Content]:
    """Configurations in which a local folder stands for a model, with the repository's name in its place."""
    found: dict[str, Content] = {}
    if kind == "adapter":
        revision = run.revisions.get("base") if run.own_base else run.base_revision
        names = {"base_model_name_or_path": run.base} | ({"revision": revision} if revision else {})
        found["adapter_config.json"] = _json_bytes(run.adapter_config | names)
    for name in ("config.json", "tokenizer_config.json"):
        if isinstance(path := files.get(name), Path):
            config = json.loads(path.read_text(encoding="utf-8"))
            local = [key for key in ("_name_or_path", "name_or_path") if key in config]
            if local:
                found[name] = _json_bytes(config | dict.fromkeys(local, getattr(run.names, kind)))
    return found


def _check_licences(run: Run, passages: Sequence[Passage | PublishedPassage], published: Path) -> None:
    """Raise `UserError` for a passage without a licence, or under one that was not to be taken: it must stay here."""
    if not passages:
        return
    folder, limits = run.folder / "passages", run.steps["passages"].arguments
    if "licences" not in limits:
        raise UserError(f"{folder}: does not say which licences were to be taken; run collect again")
    allowed = {spdx_name(name).lower() for name in limits["licences"]}
    if not (stranger := next((row for row in passages if spdx_name(row.licence).lower() not in allowed), None)):
        return
    place = f"{published}: {stranger.id}"
    if not stranger.licence:
        raise UserError(f"{place} is under no licence, so its text is not to be published; run build_dataset again")
    raise UserError(
        f"{place} is under {stranger.licence}, which documents.licences does not list: list it, or take the document "
        "out, and run collect again"
    )


def _arc_card(run: Run) -> dict[str, Content]:
    """The card of a folder of ARC's questions, beside them: it says where they are from and under which licence."""
    if run.arc_card is None:
        return {}
    if not run.arc_card.is_file():
        raise UserError(f"{run.arc_card}: not there any more; run from the folder in which the data set was built")
    return {"arc/README.md": run.arc_card}


def _json_bytes(value: dict[str, object]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _evaluation(run: Run) -> dict[str, Content]:
    return {name: run.folder / name for name in (METRICS_FILE, *run.pictures)}


def _as_verified(run: Run, step: str) -> dict[str, Content]:
    """The GGUF files of a step, which are published only as the gate saw them: by their hashes."""
    folder, outputs = run.folder / step, run.steps[step].outputs
    names = [name for name in outputs if name.endswith(".gguf")]
    if stranger := next((path for path in sorted(folder.glob("*.gguf")) if path.name not in names), None):
        raise UserError(f"{stranger}: the step did not make it, so it was not verified; take it out of the folder")
    for name in names:
        path = folder / name
        _header(path)
        if file_sha256(path) != outputs[name]["sha256"]:
            raise UserError(f"{path}: is not the file that was verified; run export again")
    return {name: folder / name for name in names}


def _wheel(run: Run) -> dict[str, Content]:
    """llama.cpp's binding for the Space, where the run built it; only as its step recorded it."""
    outputs = run.steps[WHEEL].outputs if WHEEL in run.steps else {}
    files: dict[str, Content] = {}
    for name in (name for name in outputs if name.endswith(".whl")):
        path = run.folder / WHEEL / name
        if file_sha256(path) != outputs[name]["sha256"]:
            raise UserError(f"{path}: is not the file that was built; run build_wheel again")
        files[f"{WHEELS}/{name}"] = path
    return files


def _for_ollama(run: Run, kind: str) -> dict[str, Content]:
    folder = run.folder / kind
    served = _header(folder / served_file(folder, run.steps[kind]))
    return dict(ollama_files(str(served.metadata["tokenizer.chat_template"])))


def _header(path: Path) -> GgufHeader:
    try:
        return check_gguf(path)
    except GgufError as error:
        raise UserError(f"{error}; run export again") from None
