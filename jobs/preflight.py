"""What can be checked before the first paid minute: documents, Hub, disk, base, licence, ARC, rows that do not fit."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from jobs.config import RunConfig
from jobs.disk import check_room
from jobs.errors import UserError
from jobs.estimate import cost_table, disk_bytes, parameters
from jobs.gguf_export.names import check_name, check_types, file_name
from jobs.gguf_export.quantizer import PLAIN
from jobs.team import Team
from jobs.training.distributed import rows_of_one
from qa.artifacts import ArtifactError, Repositories, pick_gguf
from qa.records import SPLITS, Question, Split

RESEARCH = "research"  # the task of the questions made from documents


def refuse_early(config: RunConfig, run: Path) -> None:
    """Raise the first problem that would end the run later, before any work is done."""
    for what, look in Preflight(config, run).checks():
        if what != "rows that fit":  # told by the step that drops them
            look()


class Preflight:
    """Looks at a run with the steps' own eyes, each thing once."""

    def __init__(self, config: RunConfig, run: Path) -> None:
        self.config, self.run = config, run
        # What has to be fetched first, or written by a teacher, is not known yet.
        self.asks_own = config.writer.kind == "offline" and not config.documents.fetched
        self.unknown = "" if self.asks_own else " (questions yet to be written come on top)"

    def checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """(what, look) in the order of cost; a look returns what was found or raises `UserError`."""
        yield "documents", self.documents
        yield "Hub", self.hub
        if self.config.publish.namespace and self.config.publish.space:
            yield "Space", self.space
        yield "disk", self.disk
        yield "base model", self.base
        if not self.config.base.pretrain:
            yield "its licence", self.licence
        if self.config.dataset.arc:
            yield "ARC", self.arc
        if self.config.dataset.decontamination.against:
            yield "decontamination", self.decontamination
        yield "export", self.export
        yield "evaluation", self.evaluation
        if Team.current().world > 1:
            yield "processes", self.processes
        if not self.config.base.pretrain:
            yield "rows that fit", self.rows_that_fit

    def documents(self) -> str:
        named = self.config.documents
        paths = [Path(path) for path in named.paths]
        missing = [str(path) for path in paths if not path.exists()]
        if missing or not named.named:
            what = missing[0] if missing else "documents"
            raise UserError(f"{what}: no documents there; name some with --documents, --arxiv, --url or --hub")
        files = sum(sum(1 for file in path.rglob("*") if file.is_file()) if path.is_dir() else 1 for path in paths)
        found = ", ".join([f"{files:,} files in {', '.join(named.paths)}"] * bool(paths) + list(named.fetched))
        if not self.asks_own:
            return found
        counts = Counter(split for split, _ in self.own_questions)
        if missing := [split for split in SPLITS if not counts[split]]:
            raise UserError(f"{found}: no {missing[0]} question comes of them ({dict(counts)}); give more documents")
        return f"{found}: {sum(counts.values()):,} questions"

    def hub(self) -> str:
        from huggingface_hub import constants, get_token

        names = self.config.publish
        if not names.namespace:
            token = "a token is set" if get_token() else "no token is set"
            return f"nothing will be published: publish.namespace is empty ({token})"
        from jobs.hub import check_rights, head_of

        check_rights(names.namespace)
        mine = Repositories(names.namespace, names.name)
        kinds = dict.fromkeys((mine.dataset, mine.index), "dataset")
        kinds |= dict.fromkeys((mine.adapter, mine.merged, mine.gguf), "model")
        there = [name for name, kind in kinds.items() if head_of(name, kind)]
        state = f"{', '.join(there)} will get a new commit" if there else "its repositories will be created"
        return f"{constants.ENDPOINT}: the token may write to {names.namespace}; {state}"

    def space(self) -> str:
        from jobs.build_wheel import check_machine
        from jobs.card_render import TAG
        from jobs.hub import check_ours
        from jobs.space_files import sources

        name = f"{self.config.publish.namespace}/{self.config.publish.name}"
        sources()
        check_machine()
        check_ours(name, "space", TAG)
        return f"{name} will serve what is published; its wheel can be built here"

    def disk(self) -> str:
        needed = 100e6 if self.config.base.pretrain else disk_bytes(parameters(self.shape), self.config.export)
        free = check_room(self.run, int(needed), "the whole run")
        return f"{free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed"

    def base(self) -> str:
        if self.config.base.pretrain:
            return "trained by the run itself"
        return f"{self.config.base.model}: {self.shape.model_type}, {parameters(self.shape) / 1e9:.2f} billion weights"

    def licence(self) -> str:
        from jobs.licences import base_licence

        licence = base_licence(self.config.base.model, self.config.base.revision)
        return f"{licence.words}: carried into every card made from it"

    def arc(self) -> str:
        rows, damaged = self.arc_rows
        counts = ", ".join(f"{split} {len(questions):,}" for split, questions in rows.items())
        return f"{self.config.dataset.arc}: {counts}; damaged rows that will be skipped: {damaged}"

    def decontamination(self) -> str:
        """Test sets that training is kept apart from beside what is evaluated: they are read after the writing."""
        from jobs.held_out_sets import scored_sets

        sets = scored_sets(self.config.dataset.decontamination.against, self._own_tasks())
        return ", ".join(f"{name} {len(rows):,}" for name, rows in sets.items()) or "the run's own test sets"

    def export(self) -> str:
        """Names and types that would be refused after hours of training."""
        types, rungs = self.config.export.types, self.config.ladder.types
        check_name(self.config.publish.name)
        check_types(types)
        if rungs and not set(PLAIN) & set(types):
            raise UserError("ladder.types: measured against F16; add f16 to export.types, or set ladder.types to []")
        served = file_name(self.config.publish.name, self.config.export.served)
        try:
            pick_gguf([file_name(self.config.publish.name, kind) for kind in types])
        except ArtifactError as error:
            raise UserError(f"export.types: {str(error).partition(';')[0]}; add q4_k_m, which is served") from None
        return f"{', '.join(types)}, of which {served} is served; ladder of {', '.join(rungs) or 'none'}"

    def evaluation(self) -> str:
        """Settings whose faults would show after training only, and tasks that are not of the run's own data set."""
        from jobs.evaluation.judge import check_judge
        from jobs.evaluation.tasks import load_tasks

        asked, own = self.config.evaluation, self._own_tasks()
        beyond = tuple(task for task in asked.tasks if task not in own)
        if beyond and "tasks" in asked.model_fields_set:
            load_tasks(asked.model_copy(update={"tasks": beyond}), None, self.config.seed)
        if asked.rotations and "letter" not in asked.formulations:
            raise UserError("evaluation.rotations: options are rotated by letter; add it to evaluation.formulations")
        self._check_shots(asked.shots if RESEARCH in asked.tasks else 0)
        needs = "sources" if asked.sources else "judge" if asked.judge.endpoint else ""
        if needs and not self._asks_open():
            raise UserError(f"evaluation.{needs}: no open test question of {RESEARCH}; ask it, or of more documents")
        if asked.judge.endpoint:
            check_judge(asked.judge)
        shots = f", {asked.shots} solved examples" if asked.shots else ""
        return f"{', '.join(asked.tasks)} by {', '.join(asked.formulations)}{shots}"

    def processes(self) -> str:
        world = Team.current().world
        return f"{world}, each with {rows_of_one(self.config.train, world)} of the {self.config.train.batch_size} rows"

    def _own_tasks(self) -> set[str]:
        from jobs.arc import task_name
        from jobs.evaluation.built_tasks import RECENT

        dataset = self.config.dataset
        return {RESEARCH, RECENT} | {task_name(config) for config in dataset.arc_configs if dataset.arc}

    def _check_shots(self, shots: int) -> None:
        """Whether the offline writer's questions give as many solved examples; a teacher's are not known yet."""
        if not shots or not self.asks_own:
            return
        found = sum(split == "train" and len(question.choices) >= 3 for split, question in self.own_questions)
        if found < shots:
            raise UserError(f"evaluation.shots: {shots}, but only {found} training questions come of the documents")

    def _asks_open(self) -> bool:
        """Whether open test questions come of the documents, as far as is known: a teacher's are not yet."""
        if (asked := RESEARCH in self.config.evaluation.tasks) and self.asks_own:
            return any(split == "test" and not question.choices for split, question in self.own_questions)
        return asked

    def rows_that_fit(self) -> str:
        limit = self.config.dataset.max_length
        lengths = [length for rows in self.lengths.values() for length in rows]
        long = sum(length > limit for length in lengths)
        return f"{long:,} of {len(lengths):,} rows are over {limit} tokens and will be dropped{self.unknown}"

    def estimate(self) -> Table | str:
        """Hours and cost by GPU type of the training rows that are known."""
        if self.config.base.pretrain:
            return "a tiny run on the processor: no GPU needed"
        limit = self.config.dataset.max_length
        try:
            lengths = [length for length in self.lengths["train"] if length <= limit]
            mean = sum(lengths) / max(1, len(lengths))
            what = f"{len(lengths):,} training rows of {mean:.0f} tokens, {self.config.train.epochs:g} epochs"
            return cost_table(self.shape, lengths, self.config.train, limit, what + self.unknown)
        except UserError as error:
            return f"no estimate: {escape(str(error))}"

    @cached_property
    def shape(self) -> Any:
        from jobs.training.base_model import check_base

        return check_base(self.config.base.model, self.config.base.revision)

    @cached_property
    def arc_rows(self) -> tuple[dict[Split, list[Question]], int]:
        from jobs.arc import load_arc

        rows, damaged, _ = load_arc(self.config.dataset.arc, self.config.dataset.arc_configs)
        return rows, len(damaged)

    @cached_property
    def lengths(self) -> dict[str, list[int]]:
        """Tokens of every row by split: ARC's, and what the offline writer makes of the documents."""
        from jobs.build_dataset import load_encoder
        from jobs.rows import token_length

        encoder = load_encoder(self.config.base.model, self.config.base.revision)
        rows: dict[str, list[Question]] = {"train": [], "held out": []}
        for split, questions in (self.arc_rows[0] if self.config.dataset.arc else {}).items():
            rows["train" if split == "train" else "held out"] += questions
        if self.asks_own:
            for split, question in self.own_questions:
                rows["train" if split == "train" else "held out"].append(question)
        return {side: [token_length(row, encoder) for row in found] for side, found in rows.items()}

    @cached_property
    def own_questions(self) -> list[tuple[Split, Question]]:
        """What collect and the offline writer make, in a folder that is thrown away; seconds, not minutes."""
        from jobs.collect import collect
        from jobs.write_questions import write_questions
        from qa.records import read_records

        config = self.config
        with tempfile.TemporaryDirectory() as folder:
            passages, questions = Path(folder) / "passages", Path(folder) / "questions"
            collect(passages, documents=config.documents, scale=config.scale)
            write_questions(passages, questions, writer=config.writer, dataset=config.dataset, seed=config.seed)
            rows = list(read_records(questions / "questions.jsonl", Question))
            sides = json.loads((questions / "splits.json").read_text(encoding="utf-8"))["documents"]
        return [(sides[row.document], row) for row in rows]
