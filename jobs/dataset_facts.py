"""What the data set's card says, read from the files and figures of the steps that made it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from jobs.card_documents import Listed, count_places, list_documents, refused_licences
from jobs.card_facts import ARC, OWN, Run, read_json
from jobs.card_render import without_paths
from jobs.data_config import NOT_IN_TEXT
from jobs.evaluation.built_tasks import RECENT_SPLIT as RECENT  # a slice of the test split: its rows count once
from jobs.evaluation.result_table import flatten
from jobs.licences import count_licences
from jobs.writers.offline import REPEATED, WORDINGS
from qa.records import SPLITS, Question

READING, PASSAGES = "reading", "passages"
CONTAMINATION = "decontamination.json"
EXAMPLES, SEED = 10, 17  # rows that are shown, and how they are drawn
UNITS = {  # what a filter of the step `questions` counts, where it is not questions
    **dict.fromkeys((WORDINGS, REPEATED), "facts"),
    **dict.fromkeys(("passages asked", "reply"), "passages"),
    "schema": "pairs",
}


class PublishedPassage(NamedTuple):
    """A row of the configuration `passages`, without its text."""

    id: str
    document: str
    licence: str


@dataclass(frozen=True)
class Data:
    """The data set of a run, and what it was made from."""

    run: Run

    @cached_property
    def rows(self) -> dict[str, dict[str, list[Question]]]:
        """Questions by configuration and split, those that there are."""
        splits = {OWN: (*SPLITS, RECENT), READING: SPLITS, ARC: SPLITS}
        found = {
            name: {split: rows for split in parts if (rows := self.run.rows(name, split))}
            for name, parts in splits.items()
        }
        return {name: parts for name, parts in found.items() if parts}

    @cached_property
    def passages(self) -> list[PublishedPassage]:
        """The passages that are published with the questions; none where the data set was built without them."""
        from pyarrow import parquet

        path = self.run.folder / "dataset" / PASSAGES / "train.parquet"
        if not path.is_file():
            return []
        columns = [parquet.read_table(path, columns=[name])[name].to_pylist() for name in PublishedPassage._fields]
        return list(map(PublishedPassage, *columns))

    @property
    def size(self) -> int:
        """Rows of all configurations, each once."""
        parts = chain.from_iterable(parts.items() for parts in self.rows.values())
        return sum(len(rows) for split, rows in parts if split != RECENT) + len(self.passages)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Counts of each split of each configuration."""
        found = [self._count(name, split, rows) for name, parts in self.rows.items() for split, rows in parts.items()]
        if self.passages:
            documents = {passage.document for passage in self.passages}
            counts = {"rows": len(self.passages), "choice": None, "open": None, "documents": len(documents)}
            found.append({"config": PASSAGES, "split": "train", **counts, "groups": self._groups_of(documents)})
        return found

    def _count(self, config: str, split: str, rows: list[Question]) -> dict[str, Any]:
        choice = sum(bool(row.choices) for row in rows)
        documents = {row.document for row in rows}
        counts = {"rows": len(rows), "choice": choice, "open": len(rows) - choice, "documents": len(documents)}
        groups = None if config == ARC else self._groups_of(documents)
        return {"config": config, "split": split, **counts, "groups": groups}

    def _groups_of(self, documents: Iterable[str]) -> int:
        return len({self.groups.get(document, document) for document in documents})

    @property
    def kinds(self) -> list[dict[str, Any]]:
        """Questions of each kind by split, of the configurations made from documents; most first."""
        found = []
        for config in (OWN, READING):
            counts = {split: Counter(row.kind for row in rows) for split, rows in self.rows.get(config, {}).items()}
            total = sum((counts[split] for split in SPLITS if split in counts), Counter[str]())
            for kind, _ in total.most_common():
                by_split = {split: counts.get(split, Counter())[kind] for split in SPLITS}
                found.append({"config": config, "kind": kind, **by_split})
        return found

    @cached_property
    def split(self) -> dict[str, Any]:
        """How documents were put on a side: `salt`, `fractions`, `documents`, `groups`; empty where no file says so."""
        path = self.run.folder / "questions" / "splits.json"
        return read_json(path) if path.is_file() else {}  # questions from elsewhere are split as they are built

    @property
    def groups(self) -> dict[str, str]:
        """Document → name of its group; a document that is not in it stands alone."""
        return self.split.get("groups", {})

    @property
    def group_sizes(self) -> list[int]:
        """Documents of each group, most first."""
        return sorted(Counter(self.groups.values()).values(), reverse=True)

    @cached_property
    def documents(self) -> list[Listed]:
        """The documents that were read."""
        return list_documents(self.run.folder / "passages", self.split.get("documents", {}))

    @property
    def places(self) -> list[dict[str, Any]]:
        """Documents, passages and licences by where the documents are from."""
        return count_places(self.documents)

    @property
    def by_source(self) -> dict[str, int]:
        """Documents by kind of source: local, arxiv, web, hub."""
        return self.run.steps["passages"].figures.get("documents_by_source", {})

    @property
    def refused_licences(self) -> list[tuple[str, int]]:
        """Why documents were refused for their licence, and how many."""
        return refused_licences(self.run.folder / "passages")

    @property
    def licences(self) -> dict[str, list[dict[str, Any]]]:
        """Rows and documents under each licence by configuration; a row of ARC is of no document."""
        found = {
            name: count_licences(chain.from_iterable(rows for split, rows in parts.items() if split != RECENT))
            for name, parts in self.rows.items()
        }
        found |= {ARC: [row | {"documents": None} for row in found[ARC]]} if ARC in found else {}
        return found | ({PASSAGES: count_licences(self.passages)} if self.passages else {})

    @property
    def unstated(self) -> int:
        """Documents that name no licence."""
        return sum(not document.licence for document in self.documents)

    @property
    def left_out(self) -> int:
        """Passages that are not published, since their document names no licence."""
        return self.run.steps["dataset"].figures["passages"]["without_licence"] if self.passages else 0

    @property
    def without_address(self) -> int:
        """Own questions whose document states no address."""
        return sum(not row.source for row in self.run.questions)

    @property
    def funnels(self) -> dict[str, list[dict[str, Any]]]:
        """What each filter took, by the step that has it; `unit` is what it was given, `becomes` a unit that is new."""
        found: dict[str, list[dict[str, Any]]] = {"passages": [], "questions": []}
        for step, rows in found.items():
            usual = "documents" if step == "passages" else "questions"
            for row in self.run.steps[step].figures["funnel"]:
                becomes = row.get("unit", "")
                unit = rows[-1]["unit"] if becomes and rows else UNITS.get(row["filter"], usual)
                rows.append({**row, "unit": unit, "becomes": becomes})
        return found

    @property
    def not_run(self) -> list[dict[str, Any]]:
        """Filters that were not run, with the reason."""
        return [row for rows in self.funnels.values() for row in rows if row["given"] is None]

    @property
    def writer(self) -> dict[str, Any]:
        """Who wrote the questions: kind, model and the rest, without where its server stands."""
        found = self.run.steps["questions"].arguments["writer"]
        return {**found, "model": without_paths(found["model"])}

    @property
    def usage(self) -> dict[str, list[tuple[str, str]]]:
        """What the models were asked, by their part (writer, reader); empty where there was none."""
        usage = self.run.steps["questions"].figures["usage"]
        return {part: list(flatten(counts)) for part, counts in usage.items()}

    @property
    def closed_book(self) -> Counter[str]:
        """How many questions a model answered rightly or wrongly without the passage; none where none was asked."""
        return Counter(row.closed_book for row in self.run.questions if row.closed_book)

    @property
    def reading(self) -> list[dict[str, Any]]:
        """Rows with passages in the prompt by split: how many, and what they show."""
        found = []
        for split, rows in self.rows.get(READING, {}).items():
            absent = sum(row.kind == NOT_IN_TEXT for row in rows)
            withheld = sum(row.passage not in row.sources for row in rows if row.kind != NOT_IN_TEXT)
            shown = sum(len(row.sources) for row in rows) / len(rows)
            answered = len(rows) - absent - withheld
            counts = {"rows": len(rows), "answered": answered, "withheld": withheld, "absent": absent, "shown": shown}
            found.append({"split": split, **counts})
        return found

    @cached_property
    def contamination(self) -> dict[str, Any]:
        """The report of decontamination, and of the rows that it dropped some, drawn by lot, as `examples`."""
        report = read_json(self.run.folder / "dataset" / CONTAMINATION)
        drawn = random.Random(SEED).sample(range(len(report["dropped"])), min(EXAMPLES, len(report["dropped"])))
        return {**report, "examples": [report["dropped"][place] for place in sorted(drawn)]}

    def dropped(self, split: str, config: str = "") -> int:
        """Rows of one side that were dropped as copies, of one configuration or of all."""
        rows = self.contamination["dropped"]
        return sum(row["split"] == split and config in ("", row["config"]) for row in rows)

    @property
    def examples(self) -> list[Question]:
        """Some questions of the test split, drawn by lot."""
        test = sorted(self.rows[OWN].get("test", []), key=lambda row: row.id)
        return random.Random(SEED).sample(test, min(EXAMPLES, len(test)))
