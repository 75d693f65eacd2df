"""What the cards say, read from a run: its steps' figures, its results, and the questions of its data set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs.card_gguf import gguf_type, verdicts
from jobs.errors import UserError
from jobs.evaluation.result_table import ResultRow, flatten, result_rows
from jobs.gate import Verified, verify
from jobs.gguf_ladder.table import LadderTable, ladder_table
from jobs.licences import Licence, base_licence, count_licences, documents_licence
from jobs.lineage import check_lineage
from jobs.step import StepRecord, read_step
from qa.artifacts import Repositories
from qa.prompts import SYSTEM_PROMPT
from qa.records import SPLITS, Passage, Question, read_records

REQUIRED = ("passages", "questions", "dataset", "adapter", "merged", "gguf", "evaluation")
OPTIONAL = ("index", "base", "base_gguf", "adapter_gguf", "ladder", "examples", "wheel")
KINDS = ("dataset", "index", "base", "adapter", "merged", "base_gguf", "gguf")  # in the order of publishing
ORDER = ("passages", "questions", "dataset", "base", "adapter", "merged", "gguf")
WAYS = {
    "index": ("passages", "index"),
    "base": ("passages", "base"),
    "base_gguf": ("passages", "questions", "dataset", "base", "base_gguf"),
    "adapter_gguf": ("passages", "questions", "dataset", "base", "adapter", "merged", "base_gguf", "adapter_gguf"),
}
MODELS = ("base", "adapter", "merged", "gguf")  # names in the evaluation, in the order of a result table
OWN, ARC = "research_qa", "arc"  # the configurations of the data set
PICTURES = {  # of the evaluation, with what each shows
    "evaluation/accuracy.png": "Accuracy of each model with its interval, and the line of chance",
    "evaluation/flips.png": "Questions that both, only the base, only the other model or neither answered rightly",
    "evaluation/reliability.png": "How often an answer is right that the model is so sure of",
}
LADDER_PICTURES = {"ladder/ladder.png": "What each type keeps of the F16 file, against its size"}
EXAMPLE_QUESTION = "What is the key idea of LoRA?"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Run:
    """A finished run: the records of its steps by folder name, and the repositories it is published to.

    `revisions` is what the cards know of the others: kind → published commit. It grows as they are published.
    """

    folder: Path
    names: Repositories
    steps: dict[str, StepRecord]
    revisions: dict[str, str] = field(default_factory=dict)

    system_prompt = SYSTEM_PROMPT

    @classmethod
    def read(cls, folder: Path, names: Repositories) -> Run:
        """Raises `UserError` naming a step that has not finished, was not verified, or was made from something else."""
        optional = [name for name in OPTIONAL if (folder / name).exists()]
        steps = {name: read_step(folder / name) for name in (*REQUIRED, *optional)}
        for name in {"gguf", "base_gguf"} & steps.keys():
            verdicts(folder / name, steps[name])
        check_lineage(folder, steps)
        return cls(folder, names, steps)

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """What there is to publish, in order; the index only where a passage of it may go out."""
        there = [kind for kind in KINDS if kind in self.steps]
        if "index" in there and not any(passage.licence.strip() for passage in self._passages()):
            there.remove("index")
        return tuple(there)

    def _passages(self) -> Iterator[Passage]:
        return read_records(self.folder / "passages" / "passages.jsonl", Passage)

    @cached_property
    def verified(self) -> Verified:
        """What was verified of the GGUF file. Raises `UserError` where it does not answer as the merged weights."""
        return verify(self.folder)

    @cached_property
    def ladder(self) -> LadderTable | None:
        """What each type costs and keeps, where it was measured."""
        return ladder_table(read_json(self.folder / "ladder" / "ladder.json")) if "ladder" in self.steps else None

    @property
    def ladder_pictures(self) -> dict[str, str]:
        """The ladder's pictures by path, with what each shows."""
        return LADDER_PICTURES if "ladder" in self.steps else {}

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return read_json(self.folder / "evaluation" / "metrics.json")

    @cached_property
    def adapter_config(self) -> dict[str, Any]:
        return read_json(self.folder / "adapter" / "adapter_config.json")

    @property
    def own_base(self) -> bool:
        """Whether the run trained its base model itself."""
        return "base" in self.steps

    @cached_property
    def base(self) -> str:
        """The repository of the base model: the run's own where it trained it, else what the adapter was trained on."""
        base = str(self.adapter_config["base_model_name_or_path"])
        if self.own_base:
            return self.names.base
        if not _REPOSITORY.fullmatch(base) or Path(base).is_dir():
            raise UserError(
                f"{self.folder / 'adapter'}: trained on the folder {base}, which nobody else has; "
                "set base.model to the model's repository and train again"
            )
        return base

    @property
    def base_revision(self) -> str:
        """The revision of a base model on the Hub that the adapter was trained on; `main` where none was recorded."""
        return str(self.steps["adapter"].arguments.get("revision") or "main")

    @cached_property
    def licence(self) -> Licence:
        """The base model's: its own card's, or the documents' where the run trained it."""
        if self.own_base:
            return documents_licence(row["licence"] for row in self.read_licences)
        return base_licence(self.base, self.base_revision)

    @property
    def arc_source(self) -> str:
        """Where the ARC questions in the data set are from, a repository or a folder; empty where it has none."""
        return str(self.steps["dataset"].arguments.get("arc", ""))

    @property
    def arc(self) -> str:
        """The repository of the ARC questions; empty where there are none, or where they came from a folder."""
        return self.arc_source if self.arc_source and self.steps["dataset"].figures["arc"]["revision"] else ""

    @property
    def arc_card(self) -> Path | None:
        """The card of the folder that ARC's questions came from; it names their origin, and is published with them."""
        return Path(self.arc_source) / "README.md" if self.arc_source and not self.arc else None

    @property
    def arc_licence(self) -> str:
        """ARC's licence as its own card gave it when the data set was built."""
        licence = self.steps["dataset"].figures["arc"]["licence"] if self.arc_source else ""
        if self.arc_source and not licence:
            raise UserError(f"{self.arc_source}: its card names no licence, so its questions cannot be published")
        return str(licence)

    def rows(self, config: str, split: str) -> list[Question]:
        """The questions of one split of the data set, without the columns that only training reads."""
        import pyarrow.parquet

        path = self.folder / "dataset" / config / f"{split}.parquet"
        if not path.is_file():
            return []
        fields = set(Question.model_fields)
        rows = pyarrow.parquet.read_table(path).to_pylist()
        return [Question(**{key: row[key] for key in row if key in fields}) for row in rows]

    @cached_property
    def questions(self) -> list[Question]:
        """The questions made from documents, of all splits."""
        return [row for split in SPLITS for row in self.rows(OWN, split)]

    @cached_property
    def read_licences(self) -> list[dict[str, Any]]:
        """Licences of the passages, which a base model of the run's own was trained on."""
        return count_licences(self._passages())

    @property
    def documents(self) -> int:
        return len({row.document for row in self.questions})

    @cached_property
    def question(self) -> str:
        """A test question for the examples of use: the first open one that needs no escaping."""
        rows = (row.question for row in self.rows(OWN, "test") if not row.choices)
        return next((text for text in rows if re.fullmatch(r"[\w ,.'()?-]+", text)), EXAMPLE_QUESTION)

    @property
    def models(self) -> list[str]:
        """The models that were evaluated, each after what it was made from."""
        return sorted(self.metrics["models"], key=lambda model: (*MODELS, model).index(model))

    @cached_property
    def labels(self) -> dict[str, str]:
        """How each evaluated model is headed in a table: a GGUF file by its type too, since several are published."""
        return {model: self._label(model) for model in self.models}

    def _label(self, model: str) -> str:
        source = Path(read_json(self.folder / "evaluation" / f"{model}.json")["source"])
        return f"{model}, {gguf_type(source.name)}" if source.suffix == ".gguf" else model

    @cached_property
    def results(self) -> list[ResultRow]:
        return result_rows(self.metrics)

    @property
    def pictures(self) -> dict[str, str]:
        """The pictures that the evaluation left, by path, with what each shows."""
        return {name: words for name, words in PICTURES.items() if (self.folder / name).is_file()}

    @property
    def writing(self) -> list[tuple[str, str]]:
        """What the questions were written with, but not where the writer's server stands: that is nobody's business."""
        pairs = flatten(self.steps["questions"].arguments)
        return [pair for pair in pairs if pair[0].rpartition(".")[2] not in ("endpoint", "cache")]

    @property
    def base_read_facts(self) -> bool:
        """Whether the run's own base model was trained on a table of facts in many wordings, beside the documents."""
        return self.own_base and bool(self.steps["base"].arguments.get("shape", {}).get("facts"))

    @property
    def hyperparameters(self) -> list[tuple[str, str]]:
        """What the adapter was trained with; a folder that stood for the base model goes by its repository's name."""
        return list(flatten({**self.steps["adapter"].arguments, "base": self.base}))

    def until(self, last: str) -> dict[str, StepRecord]:
        """The steps that lead to one folder, in order; those to the base model only where the run trained it."""
        way = WAYS[last] if last in WAYS else ORDER[: ORDER.index(last) + 1]
        return {name: self.steps[name] for name in way if name in self.steps}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of a step. Raises `UserError` where it is not there or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the step that makes it again") from None
