"""The few calls of llama.cpp that the engine needs, with Python values in, errors instead of return codes out."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import llama_cpp
import numpy as np

from qa.llama_model import Model, ModelFileError, reason

__all__ = ["BATCH", "OUTPUTS", "SEQUENCES", "Aborted", "Context", "Model", "ModelFileError"]

BATCH = 512  # tokens of one llama_decode
OUTPUTS = 64  # positions of one llama_decode with logits: 39 MB at Qwen2.5's vocabulary
SEQUENCES = 10
SLOT_BATCH = 256  # tokens computed together for answers: half the working memory of 512, 42 MB for a 3B
ABORTED = 2  # of llama_decode


class Aborted(Exception):  # noqa: N818 (no error: it was asked for)
    """llama.cpp stopped in the middle of a computation because it was asked to."""


class Batch:
    """Room for BATCH tokens, each of one sequence, filled as arrays: 64 tokens take 7 µs, one by one 49 (AMD EPYC)."""

    def __init__(self) -> None:
        self._tokens, self._positions, self._sequences = np.zeros((3, BATCH), np.int32)
        self._counts, self._wanted = np.ones(BATCH, np.int32), np.zeros(BATCH, np.int8)
        self._addresses = self._sequences.ctypes.data + self._sequences.itemsize * np.arange(BATCH)
        pointer = ctypes.POINTER(ctypes.c_int32)
        self._batch = llama_cpp.llama_batch(
            token=self._tokens.ctypes.data_as(pointer),
            pos=self._positions.ctypes.data_as(pointer),
            n_seq_id=self._counts.ctypes.data_as(pointer),
            seq_id=self._addresses.ctypes.data_as(ctypes.POINTER(pointer)),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def filled(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]
    ) -> llama_cpp.llama_batch:
        """The batch of `Context.decode`; the next call overwrites it."""
        self._batch.n_tokens = count = len(tokens)
        self._tokens[:count], self._positions[:count], self._sequences[:count] = tokens, positions, sequences
        self._wanted[:count] = 0
        self._wanted[list(wanted)] = 1
        return self._batch


class Context:
    """A KV cache for one window of at most the trained length, in `SEQUENCES` sequences that share it.

    With `slots`, a window for each of so many sequences. Not safe for two threads at once, `abort` apart.
    """

    def __init__(self, model: Model, n_ctx: int, n_threads: int, *, slots: int = 0) -> None:
        self.model, self.n_ctx = model, min(n_ctx, llama_cpp.llama_model_n_ctx_train(model.pointer))
        self._n_threads, self._worn = n_threads, None
        if self.n_ctx < 1:
            raise ModelFileError(f"{model.path}: its context length is {self.n_ctx} tokens; export it again")
        parameters = llama_cpp.llama_context_default_params()
        cells = self.n_ctx * max(slots, 1)
        parameters.n_ctx = max(cells, BATCH)  # with less room llama.cpp takes smaller batches, and aborts at ours
        parameters.n_batch, parameters.n_outputs_max = BATCH, slots or OUTPUTS
        if slots:
            parameters.n_ubatch = SLOT_BATCH
        parameters.n_seq_max, parameters.kv_unified = slots or SEQUENCES, True
        parameters.n_threads = parameters.n_threads_batch = n_threads
        parameters.no_perf = True
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise ModelFileError(f"{model.path}: llama.cpp cannot make a context of {cells} tokens ({reason()})")
        self.memory = llama_cpp.llama_get_memory(self.pointer)
        self._batch = Batch()
        self._install_abort()

    def _install_abort(self) -> None:
        """Let a byte in memory stop llama.cpp.

        It asks once for each node of the graph, about a thousand times a token at 36 layers; a Python callback would
        need the interpreter's lock each time, for which a busy thread makes it wait up to 5 ms. C's strlen of a
        one-character buffer answers the same question without Python.
        """
        self._flag = ctypes.create_string_buffer(2)
        self._ask = ctypes.cast(ctypes.CDLL(None).strlen, llama_cpp.ggml_abort_callback)
        data = ctypes.cast(self._flag, ctypes.c_void_p)
        llama_cpp.llama_set_abort_callback(self.pointer, self._ask, data)

    def abort(self) -> None:
        """Stop the computation under way, or the next one, in the middle (`Aborted`); from any thread."""
        self._flag[0] = b"\1"

    def allow(self) -> None:
        """Take `abort` back."""
        self._flag[0] = b"\0"

    @contextmanager
    def aborted_by(self, cancel: threading.Event | None) -> Iterator[None]:
        """Within it, setting `cancel` stops llama.cpp in the middle of a computation (`Aborted`)."""
        if cancel is None:
            yield
            return
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                if cancel.wait(0.05):
                    self.abort()
                    return

        watcher = threading.Thread(target=watch, daemon=True, name="engine-cancel")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self.allow()

    def wear(self, adapter: llama_cpp.llama_adapter_lora_p) -> None:
        """Add a LoRA adapter of the model, at full strength; what was computed before is forgotten."""
        adapters, scales = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if code := llama_cpp.llama_set_adapters_lora(self.pointer, adapters, 1, scales):
            raise RuntimeError(f"llama_set_adapters_lora returned {code}")
        self._worn = adapter
        self.forget(-1)

    def with_slots(self, slots: int) -> Context:
        """Another cache for the same model, window, threads and adapter. Raises `ModelFileError`."""
        other = Context(self.model, self.n_ctx, self._n_threads, slots=slots)
        if self._worn is not None:
            other.wear(self._worn)
        return other

    def decode(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]):
        """Compute `tokens` (at most BATCH), each at a position of a sequence, with logits at the `wanted` indices."""
        if len(tokens) > BATCH:  # written beyond the batch's memory otherwise
            raise ValueError(f"{len(tokens)} tokens at once; a batch holds {BATCH}")
        code = llama_cpp.llama_decode(self.pointer, self._batch.filled(tokens, positions, sequences, wanted))
        if code == ABORTED:
            raise Aborted
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code} for {len(tokens)} tokens ({reason()})")

    def log_probabilities(self, index: int, tokens: Sequence[int]) -> np.ndarray:
        """Natural-log probabilities, float64 [len(tokens)], of tokens after position `index` of the last batch."""
        row = self._row(index)
        top = row.max()
        total = float(top) + np.log(np.exp(row - top).sum(dtype=np.float64))
        return row[np.asarray(tokens)].astype(np.float64) - total

    def logits(self, indices: Sequence[int]) -> np.ndarray:
        """Raw logits, float32 [len(indices), vocabulary], after those `wanted` positions of the last batch; a copy."""
        rows = np.empty((len(indices), self.model.size), dtype=np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[:] = self._row(index)
        return rows

    def likeliest(self, index: int) -> int:
        """The token of the highest logit after position `index` of the last batch; the first of equals.

        llama.cpp's greedy sampler gives the same, but first lists all tokens: 190 µs at Qwen2.5's vocabulary, not 14
        (AMD EPYC).
        """
        return int(self._row(index).argmax())

    def _row(self, index: int) -> np.ndarray:
        """llama.cpp's own logits, until it computes again."""
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.pointer, index), (self.model.size,))

    def share(self, source: int, target: int, length: int = -1) -> None:
        """Make `target` hold what `source` holds, or the first `length` tokens of it, without copying."""
        self.forget(target)
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, 0, length)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop the tokens of a sequence from position `start` on; -1 means every sequence."""
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, start, -1)

    def close(self) -> None:
        """Free the cache; safe to repeat."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            llama_cpp.llama_free(pointer)
