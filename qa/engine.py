"""The engine: a GGUF model that answers in a stream, can be stopped at any time, and scores the options of a question.

Answers to many are begun beside each other and computed step by step (`begin`, `step`), in a context of their own: what
goes on there changes no score. Elsewhere one lock for each engine: a second caller waits its turn, and is told so. What
was typed reaches the model through `Engine.encoder` alone, so that it can never become a control token. Greedy answers
from `generate` and `complete`, and scores, depend on the prompt only, not on what was asked before; `stream` reuses the
longest common beginning, which is what a visitor who asks on waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

from qa.generation import Chunk, Generation, PromptTooLong
from qa.llama import Aborted, Context, Model, ModelFileError
from qa.llama_model import threads_for
from qa.prompt_cache import PromptCache
from qa.prompts import Message
from qa.sampling import Draw, Sampler
from qa.slots import Slots
from qa.stops import cut

__all__ = ["Aborted", "Chunk", "Engine", "Generation", "ModelFileError", "PromptTooLong", "threads_for"]

PATIENCE = 0.25  # seconds between signs of life while another caller has the engine


class Engine:
    """One model file with one context. Make it with `Engine.load`; use it as a context manager or `close` it."""

    def __init__(self, name: str, model: Model, context: Context, parallel: int = 1) -> None:
        self.name, self.n_ctx, self.encoder, self.parallel = name, context.n_ctx, model.encoder, parallel
        self.parse = model.parse  # ids of a rendered prompt, control tokens included: never of typed text
        self._model, self._context = model, context
        self._lock = threading.Lock()  # not an RLock: a stream may be closed by another thread than began it
        self._cache = PromptCache(context, model.im_end)
        self._stepping = threading.Lock()  # held while answers are computed together, so that nothing is freed
        self._slots: Slots | None = None  # made for the first of them: jobs need none
        if parallel > 1:
            self._opened()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        n_ctx: int = 2048,
        n_threads: int | None = None,
        adapter: Path | None = None,
        parallel: int = 1,
        repack: bool = False,
    ) -> Self:
        """Load a GGUF file, with a LoRA adapter in GGUF on it where one is given. Raises `ModelFileError`.

        Without `n_threads` every core is used, or one for a tiny file. `parallel` answers can be under way at once,
        each in a window of `n_ctx` tokens of its own.
        """
        with ExitStack() as undo:
            model = undo.enter_context(closing(Model(path, repack=repack)))
            lora = model.adapter(adapter) if adapter else None  # before the context, which makes room for it
            context = undo.enter_context(closing(Context(model, n_ctx, n_threads or threads_for(path))))
            if lora is not None:
                context.wear(lora)
            engine = cls(path.stem, model, context, parallel)
            undo.pop_all()
        return engine

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
        repeat_penalty: float = 1.0,
        seed: int = 0,
        cancel: threading.Event | None = None,
        reuse: bool = True,
        grammar: str = "",
    ) -> Iterator[Chunk]:
        """Answer in pieces; the last chunk's state is "done". Closing the iterator, or setting `cancel`, stops it.

        Greedy at temperature 0. Values out of range are brought into it. A grammar, in llama.cpp's notation (GBNF),
        allows only what it describes. Raises `PromptTooLong`, and ValueError for a grammar that cannot be read.
        """
        draw = Draw.clamped(temperature, top_p, top_k, repeat_penalty, seed, self.vocabulary_size)
        return self._answer(self._fitting(self.encoder.prompt(messages)), max_tokens, draw, cancel, reuse, grammar)

    def generate(self, messages: Sequence[Message], **settings: Any) -> str:
        """The whole answer under the settings of `stream`, independent of what was asked before."""
        return "".join(chunk.text for chunk in self.stream(messages, reuse=False, **settings))

    def complete(self, prompt: list[int], *, max_tokens: int, until: Sequence[str] = ()) -> str:
        """The greedy continuation of token ids, cut before the first of `until`. Raises `PromptTooLong`."""
        text = ""
        with closing(self._answer(self._fitting(prompt), max_tokens, Draw(), None, reuse=False)) as chunks:
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

    def begin(
        self,
        messages: Sequence[Message],
        *,
        temperature: float,
        top_p: float,
        top_k: int,
        repeat_penalty: float,
        seed: int,
        max_tokens: int,
    ) -> Generation:
        """Begin an answer beside others, under the settings of `stream`; `step` computes it.

        Raises `PromptTooLong`, and RuntimeError where none is `free`.
        """
        prompt = self._fitting(self.encoder.prompt(messages))
        draw = Draw.clamped(temperature, top_p, top_k, repeat_penalty, seed, self.vocabulary_size)
        with self._stepping:
            slots = self._opened()
            if not slots.free:
                raise RuntimeError(f"all {self.parallel} slots of {self.name} are taken; ask `free` first")
            slots.begin(generation := self._generation(prompt, max_tokens, draw))
        return generation

    def step(self) -> list[tuple[Generation, Chunk]]:
        """One computation for the answers begun, and its news. Those it fails for are over (`Generation.ended`)."""
        with self._stepping:
            self._check_open()
            return self._slots.step() if self._slots else []

    def interrupt(self, generation: Generation) -> None:
        """End an answer, from any thread: its last chunk, "cancelled", comes with a step's news. Safe to repeat."""
        if self._slots is not None:
            self._slots.interrupt(generation)

    @property
    def free(self) -> int:
        """How many answers can begin."""
        return self._slots.free if self._slots else self.parallel

    @property
    def busy(self) -> bool:
        """Whether `step` has something to compute or to tell."""
        return self._slots is not None and self._slots.busy

    def close(self) -> None:
        """Free the memory, after whoever is being answered; safe to repeat. Answers begun end where they are."""
        with self._lock, self._stepping:
            if self._slots is not None:
                self._slots.close()
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
        draw: Draw,
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
        try:
            self._check_open()
            generation = self._generation(prompt, max_tokens, draw, grammar)
            with closing(generation), self._context.aborted_by(cancel):
                yield from generation.alone(self._context, self._cache, cancel, reuse)
        finally:
            self._cache.rewind()
            self._lock.release()

    def _generation(self, prompt: list[int], max_tokens: int, draw: Draw, grammar: str = "") -> Generation:
        limit = max(1, min(max_tokens, self.n_ctx - len(prompt)))
        return Generation(prompt, limit, self._model, Sampler(draw, self._model, grammar))

    def _opened(self) -> Slots:
        """The slots of answers begun together."""
        self._check_open()
        if self._slots is None:
            self._slots = Slots(self._context.with_slots(self.parallel), self.parallel)
        return self._slots
