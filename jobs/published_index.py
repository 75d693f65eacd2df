"""The passage index as it goes out: only of passages under a licence, as are the passages of the data set.

The run's own index holds every passage. Where some may not go out, another is built without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCardData

from jobs.card_documents import MOST_DOCUMENTS, Listed, count_places, list_documents
from jobs.card_facts import Run
from jobs.card_render import TAG, render
from jobs.dataset_card import SIZES
from jobs.errors import UserError
from jobs.index_of import check_index
from jobs.licences import count_licences, documents_licence
from qa import retrieval
from qa.records import Passage, read_records

TYPES = {str: "string", int: "int64"}  # of a passage's fields, as the Hub names them: it would take dates for times


@dataclass(frozen=True)
class PublishedIndex:
    """What is published of a run's passages, and what the card says of it."""

    run: Run

    @cached_property
    def passages(self) -> list[Passage]:
        """The passages whose text may go out."""
        return [passage for passage in self._all if passage.licence.strip()]

    @cached_property
    def _all(self) -> list[Passage]:
        return list(read_records(self.run.folder / "passages" / retrieval.PASSAGES, Passage))

    @property
    def left_out(self) -> int:
        """Passages of documents that name no licence."""
        return len(self._all) - len(self.passages)

    @cached_property
    def documents(self) -> list[Listed]:
        """The documents of these passages."""
        held = {passage.document for passage in self.passages}
        return [listed for listed in list_documents(self.run.folder / "passages", {}) if listed.document in held]

    @property
    def places(self) -> list[dict[str, Any]]:
        """Documents, passages and licences by where the documents are from."""
        return count_places(self.documents)

    @property
    def licences(self) -> list[dict[str, Any]]:
        """Passages and documents under each licence, most first."""
        return count_licences(self.passages)

    @property
    def versions(self) -> dict[str, str]:
        """The libraries that it must be searched with, which are those it was built with."""
        return retrieval.versions()

    def folder(self, made: Path) -> Path:
        """The folder of the index that goes out: the run's own, or one built into `made` where passages are left out.

        Raises `UserError` where the index is damaged, of other passages or by other versions.
        """
        folder = self.run.folder / "index"
        try:
            if self.left_out:
                retrieval.build(self.passages, folder := made)
            index = retrieval.Index.load(folder)
        except retrieval.RetrievalError as error:
            raise UserError(str(error)) from None
        check_index(index, folder, self.passages)
        return folder


def is_published(run: Run) -> bool:
    """Whether a run has an index, and any passage of it may go out."""
    return "index" in run.kinds


def index_card(run: Run) -> str:
    """README of the index."""
    found = PublishedIndex(run)
    return render(
        "index",
        run,
        _front_matter(run, found),
        title=run.names.index.split("/")[1],
        index=found,
        columns=list(Passage.model_fields),
        most_documents=MOST_DOCUMENTS,
    )


def _front_matter(run: Run, found: PublishedIndex) -> DatasetCardData:
    features = [{"name": name, "dtype": TYPES[field.annotation]} for name, field in Passage.model_fields.items()]
    return DatasetCardData(
        language="en",
        license=documents_licence(passage.licence for passage in found.passages).license,
        pretty_name=run.names.index.split("/")[1],
        task_categories=["text-retrieval"],
        size_categories=next((name for limit, name in SIZES if len(found.passages) < limit), "1M<n<10M"),
        tags=[TAG, "ai-research", "bm25"],
        configs=[{"config_name": "passages", "default": True, "data_files": retrieval.PASSAGES}],
        dataset_info={"config_name": "passages", "features": features},
    )
