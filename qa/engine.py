"""The engine: a GGUF model that answers in a stream, can be stopped at any time, and scores the options of a question.

One lock for each engine: a second caller waits its turn, and is told so. What was typed reaches the model through
`Engine.encoder` alone, so that it can never become a control token. Greedy answers from `generate` and `complete`, and
scores, depend on the prompt only, not on what was asked before; `stream` reuses the longest common beginning, which is
what a visitor who asks on waits for.
"""

from __future__ import annotations

import codecs
import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from qa.llama import Aborted, Context, Model, ModelFileError
from qa.prompt_cache import PromptCache
from qa.prompts import Message
from qa.sampling import grammar_sampler, sampler
from qa.stops import cut

__all__ = ["Aborted", "Chunk", "Engine", "ModelFileError", "PromptTooLong"]

READ_CHUNK = 64  # prompt tokens between two signs of life: 2.7 s for a 3B on two cores, 17 % slower than 256 at once
SMALL_FILE = 64 << 20  # bytes; below, waiting for a second thread costs more than it saves (up to 50 × on busy cores)
GREEDY = (0.0, 1.0, 1, 0)  # temperature, top-p, top-k, seed
PATIENCE = 0.25  # seconds between signs of life while another caller has the engine


def threads_for(path: Path) -> int:
    """Threads for a model file: every core that this process may use, or one for a tiny file."""
    return 1 if path.stat().st_size < SMALL_FILE else len(os.sched_getaffinity(0))


class PromptTooLong(ValueError):  # noqa: N818 (says what it is)
    """The prompt does not fit the context window."""


@dataclass(frozen=True)
class Chunk:
    """A sign of life: `text` is what was added since the last one; counts are in tokens.

    `finish` is set on the last chunk alone: the model ended its turn (stop), the room ended (length), or `cancel`.
    """

    text: str
    state: Literal["reading", "writing", "done"]
    prompt_tokens: int
    read_tokens: int
    tokens: int
    finish: Literal["", "stop", "length", "cancelled"] = ""


class Engine:
    """One model file with one context. Make it with `Engine.load`; use it as a context manager or `close` it."""

    def __init__(self, name: str, model: Model, context: Context) -> None:
        self.name, self.n_ctx, self.encoder = name, context.n_ctx, model.encoder
        self._model, self._context = model, context
        self._lock = threading.Lock()  # not an RLock: a stream may be closed by another thread than began it
        self._cache = PromptCache(context, model.im_end)

    @classmethod
    def load(cls, path: Path, *, n_ctx: int = 2048, n_threads: int | None = None, adapter: Path | None = None) -> Self:
        """Load a GGUF file, with a LoRA adapter in GGUF on it where one is given. Raises `ModelFileError`.

        Without `n_threads` every core is used, or one for a tiny file.
        """
        model = Model(path)
        try:
            lora = model.adapter(adapter) if adapter else None  # before the context, which makes room for it
            context = Context(model, n_ctx, n_threads or threads_for(path))
        except ModelFileError:
            model.close()
            raise
        if lora is not None:
            context.wear(lora)
        return cls(path.stem, model, context)

    @property
    def vocabulary_size(self) -> int:
        """Entries of the vocabulary, padding included."""
        return self._model.size

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 200,
        temperature: float = 0.0,
        top_p: float = 0.9,
        top_k: int = 20,
        seed: int = 0,
        cancel: threading.Event | None = None,
        reuse: bool = True,
        grammar: str = "",
    ) -> Iterator[Chunk]:
        """Answer in pieces; the last chunk's state is "done". Closing the iterator, or setting `cancel`, stops it.

        Greedy at temperature 0. Values out of range are brought into it. A grammar, in llama.cpp's notation (GBNF),
        allows only what it describes. Raises `PromptTooLong`, and ValueError for a grammar that cannot be read.
        """
        draw = (_clamp(temperature, 0, 2), _clamp(top_p, 0.01, 1), int(_clamp(top_k, 1, self.vocabulary_size)), seed)
        return self._answer(self._fitting(self.encoder.prompt(messages)), max_tokens, draw, cancel, reuse, grammar)

    def generate(self, messages: Sequence[Message], **settings: Any) -> str:
        """The whole answer under the settings of `stream`, independent of what was asked before."""
        return "".join(chunk.text for chunk in self.stream(messages, reuse=False, **settings))

    def complete(self, prompt: list[int], *, max_tokens: int, until: Sequence[str] = ()) -> str:
        """The greedy continuation of token ids, cut before the first of `until`. Raises `PromptTooLong`."""
        text = ""
        with closing(self._answer(self._fitting(prompt), max_tokens, GREEDY, None, reuse=False)) as chunks:
            for chunk in chunks:
                text += chunk.text
                if any(stop in text for stop in until):
                    break
        return cut(text, until)

    def option_logprobs(
        self,
        prompt: list[int],
        options: list[list[int]],
        *,
        head: int = 0,
        cancel: threading.Event | None = None,
    ) -> list[float]:
        """Log-probability (natural, summed over tokens) of each option as what follows the prompt.

        The prompt is computed once; the options share it, each in a sequence of its own, as many at once as fit. Its
        first `head` tokens (by default its first turn) are kept for the next prompt that begins with the same.
        Raises `PromptTooLong` where prompt and longest option do not fit the window, and `Aborted` once `cancel` is
        set, be it while another caller has the engine or in the middle of a computation.
        """
        if not all(options):
            raise ValueError("an option without tokens cannot be scored")
        self._fitting(prompt, room=max(map(len, options)))
        if not 0 <= head < len(prompt):
            raise ValueError(f"a prompt of {len(prompt)} tokens ends within its head of {head}")
        with self._taken(cancel):
            last = self._cache.read_at_once(prompt, head)
            firsts = self._context.log_probabilities(last, [option[0] for option in options])
            rests = self._cache.score_rests(len(prompt), options)
        return [float(first + rest) for first, rest in zip(firsts, rests, strict=True)]

    @contextmanager
    def _taken(self, cancel: threading.Event | None) -> Iterator[None]:
        """The engine for the block alone. Raises `Aborted` as soon as `cancel` is set."""
        while not self._lock.acquire(timeout=PATIENCE):
            if cancel is not None and cancel.is_set():
                raise Aborted
        try:
            self._check_open()
            if cancel is not None and cancel.is_set():
                raise Aborted
            with self._context.aborted_by(cancel):
                yield
        finally:
            self._cache.rewind()
            self._lock.release()

    def close(self) -> None:
        """Free the memory, after whoever is being answered; safe to repeat."""
        with self._lock:
            self._context.close()
            self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fitting(self, prompt: list[int], room: int = 1) -> list[int]:
        if not prompt:
            raise ValueError("an empty prompt cannot be continued")
        if len(prompt) + room > self.n_ctx:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens; {self.name} reads at most {self.n_ctx - room}")
        return prompt

    def _check_open(self) -> None:
        if self._context.pointer is None:
            raise RuntimeError(f"the engine of {self.name} is closed")

    def _answer(
        self,
        prompt: list[int],
        max_tokens: int,
        draw: tuple[float, float, int, int],
        cancel: threading.Event | None,
        reuse: bool,
        grammar: str = "",
    ) -> Generator[Chunk]:
        count = len(prompt)
        while not self._lock.acquire(timeout=PATIENCE):
            if cancel is not None and cancel.is_set():
                yield Chunk("", "done", count, 0, 0, "cancelled")
                return
            yield Chunk("", "reading", count, 0, 0)
        written = 0
        try:
            self._check_open()
            held = grammar_sampler(self._model, grammar) if grammar else None
            with self._context.aborted_by(cancel), sampler(*draw, held) as next_token:
                for read in self._read(prompt, reuse):
                    yield Chunk("", "reading", count, read, 0)
                limit = max(1, min(max_tokens, self.n_ctx - count))
                for text, written, finish in self._write(next_token, limit):
                    yield Chunk(text, "done" if finish else "writing", count, count, written, finish)
                    if not finish and cancel is not None and cancel.is_set():
                        raise Aborted
        except Aborted:
            yield Chunk("", "done", count, min(len(self._cache.past), count), written, "cancelled")
        finally:
            self._cache.rewind()
            self._lock.release()

    def _write(
        self, next_token: Callable[[Context], int], limit: int
    ) -> Iterator[tuple[str, int, Literal["", "stop", "length"]]]:
        """Pieces of text, how many tokens they make, and at the end why it is one. Incomplete UTF-8 is held back."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for number in range(1, limit + 1):
            token = next_token(self._context)
            if self._model.ends_generation(token):
                yield decoder.decode(b"", final=True), number - 1, "stop"
                return
            text = decoder.decode(self._model.piece(token), final=number == limit)
            yield text, number, "length" if number == limit else ""
            if number < limit:
                self._cache.append([token])

    def _read(self, prompt: list[int], reuse: bool) -> Iterator[int]:
        """Compute the prompt in chunks; yields how many of its tokens are read."""
        yield self._cache.enter(prompt, reuse)
        while len(self._cache.past) < len(prompt):
            self._cache.append(prompt[len(self._cache.past) : len(self._cache.past) + READ_CHUNK])
            yield len(self._cache.past)


def _clamp(value: float, low: float, high: float) -> float:
    """Into the range; what is not a number becomes the lowest value."""
    return min(max(value, low), high) if value == value else low
