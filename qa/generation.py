"""One answer in the making: its prompt, what was written of it, and the signs of life that tell of it."""

from __future__ import annotations

import codecs
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from qa.llama import Aborted, Context, Model
from qa.prompt_cache import PromptCache
from qa.sampling import Sampler

Finish = Literal["", "stop", "length", "cancelled"]


class PromptTooLong(ValueError):  # noqa: N818 (says what it is)
    """The prompt does not fit the context window."""


@dataclass(frozen=True)
class Chunk:
    """A sign of life: `text` is what was added since the last one; counts are in tokens.

    `finish` is set on the last chunk alone: the model ended its turn (stop), the room ended (length), or it was
    cancelled.
    """

    text: str
    state: Literal["reading", "writing", "done"]
    prompt_tokens: int
    read_tokens: int
    tokens: int
    finish: Finish = ""


class Generation:
    """An answer of at most `limit` tokens, drawn one by one from what the caller computed. Incomplete UTF-8 waits."""

    def __init__(self, prompt: list[int], limit: int, model: Model, sampler: Sampler) -> None:
        self.prompt, self.limit = prompt, limit
        self.written: list[int] = []
        self.ended = self.interrupted = False  # over; asked to be over
        self._model, self._sampler = model, sampler
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def alone(
        self, context: Context, cache: PromptCache, cancel: threading.Event | None, reuse: bool
    ) -> Iterator[Chunk]:
        """Read and write the whole answer in the cache's main sequence."""
        try:
            for read in cache.read(self.prompt, reuse):
                yield self.reading(read)
            while True:
                yield (chunk := self.draw(context))
                if chunk.finish:
                    return
                if cancel is not None and cancel.is_set():
                    raise Aborted
                cache.append(self.written[-1:])
        except Aborted:
            yield self.cancelled(len(cache.past))

    def pending(self, known: int, most: int) -> list[int]:
        """At most `most` tokens that are to be computed next, where the first `known` have been."""
        return [*self.prompt, *self.written][known : known + most]

    def left(self, known: int) -> int:
        """How many tokens are to be computed before the next is drawn."""
        return len(self.prompt) + len(self.written) - known

    def reading(self, known: int) -> Chunk:
        """How far the prompt is read."""
        return Chunk("", "reading", len(self.prompt), known, 0)

    def draw(self, context: Context, index: int = -1) -> Chunk:
        """One token more, drawn from the logits after position `index` of the last batch."""
        token = self._sampler.next(context, index)
        if self._model.ends_generation(token):
            return self._news(self._decoder.decode(b"", final=True), "stop")
        self.written.append(token)
        full = len(self.written) >= self.limit
        return self._news(self._decoder.decode(self._model.piece(token), final=full), "length" if full else "")

    def cancelled(self, read: int) -> Chunk:
        """The last chunk of an answer that was stopped after so many tokens of the prompt."""
        return self._news("", "cancelled", min(read, len(self.prompt)))

    def _news(self, text: str, finish: Finish, read: int | None = None) -> Chunk:
        if finish:
            self.close()
        count = len(self.prompt)
        state = "done" if finish else "writing"
        return Chunk(text, state, count, count if read is None else read, len(self.written), finish)

    def close(self) -> None:
        """Free the sampler; safe to repeat."""
        self.ended = True
        self._sampler.close()
