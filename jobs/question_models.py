"""The models that write and read questions: at an endpoint, in this process, or in every process of a team."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.data_config import Budget, Writer
from jobs.team import Team

if TYPE_CHECKING:
    from jobs.asker import Asker
    from jobs.shared_model import Helpers

LOCAL = ("transformers", "llama_cpp")


@dataclass
class Models:
    """The teacher and the reader of a configuration, once they are opened."""

    writer: Writer
    team: Team
    helpers: Helpers | None = None
    teacher: Asker | None = None
    reader: Asker | None = None

    def open(self) -> None:
        """Open both. Raises `UserError` where one is not fully named or cannot be had."""
        writer, reader = self.writer, self.writer.reader
        if writer.kind != "offline":
            self.teacher = self._open(writer.kind, writer.model, writer.endpoint, "writer")
        if reader.kind == "writer":
            self.reader = self.teacher
        elif reader.kind != "none":
            self.reader = self._open(reader.kind, reader.model, reader.endpoint, "writer.reader")

    def reader_after(self, used: Mapping[str, Any]) -> Asker | None:
        """The reader with what the writer's use left of the budget."""
        if self.reader is None or self.reader is self.teacher:
            return self.reader
        return self.reader.within(_left(self.writer.budget, used))

    @contextmanager
    def helped(self) -> Iterator[None]:
        """In the block, a model that every process of the team can hold is asked in all of them; for the leader."""
        if self.team.world > 1 and self._local():
            from jobs.shared_model import Helpers

            self.helpers = Helpers(self.team)
        try:
            yield
        finally:
            if self.helpers:
                self.helpers.dismiss()

    def help_out(self) -> None:
        """Answer what the leader asks of this process's models; for the others."""
        if asked := self._local():
            from jobs.shared_model import help_out
            from jobs.writers.teachers import load_local

            help_out([load_local(*one) for one in asked], self.team)

    def _local(self) -> list[tuple[str, str, str]]:
        """Kind, name and section of each model that is held in the processes, each once."""
        named = ((self.writer.reader, "writer.reader"), (self.writer, "writer"))
        sections = {(one.kind, one.model): section for one, section in named if one.kind in LOCAL}
        return [(*model, section) for model, section in sections.items()]

    def _open(self, kind: str, model: str, endpoint: str, section: str) -> Asker:
        from jobs.asker import open_asker

        return open_asker(
            kind,
            model,
            endpoint,
            concurrency=self.writer.concurrency,
            cache=self.writer.cache,
            budget=self.writer.budget,
            section=section,
            helpers=self.helpers,
        )


def _left(budget: Budget, used: Mapping[str, Any]) -> Budget:
    """What a writer leaves of a budget for the reader; at least so much that it can be stated."""
    tokens, dollars = used.get("input_tokens", 0) + used.get("output_tokens", 0), used.get("dollars", 0.0)
    return budget.model_copy(
        update={
            "tokens": None if budget.tokens is None else max(1, budget.tokens - tokens),
            "dollars": None if budget.dollars is None else max(1e-9, budget.dollars - dollars),
        }
    )
