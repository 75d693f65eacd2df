"""The few calls of llama.cpp that the engine needs, with Python values in, errors instead of return codes out.

The low-level binding, not `llama_cpp.Llama`: that class repacks weights (+1.3 GB for a 3B, and slower on AVX2), parses
special tokens out of what a visitor typed, and gives log-probabilities only with logits for every position kept
(n_ctx × 151,936 × 4 bytes).
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import llama_cpp
import numpy as np

from qa.gguf_file import GgufError, check_gguf
from qa.prompts import IM_END, IM_START, PromptEncoder, as_plain_text

BATCH = 512  # tokens of one llama_decode
OUTPUTS = 64  # positions of one llama_decode with logits: 39 MB at Qwen2.5's vocabulary
SEQUENCES = 10
ERROR = 4  # ggml's log level
ABORTED = 2  # of llama_decode

_complaints: deque[str] = deque(maxlen=12)


class ModelFileError(ValueError):
    """A model file that cannot be used: one line that names the file and says why."""


class Aborted(Exception):  # noqa: N818 (no error: it was asked for)
    """llama.cpp stopped in the middle of a computation because it was asked to."""


@llama_cpp.llama_log_callback
def _keep_complaints(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    if level == ERROR:
        _complaints.append(text.decode("utf-8", errors="replace").strip())


class Model:
    """Weights and vocabulary of one GGUF file; text goes in by its `encoder`. Raises `ModelFileError`."""

    def __init__(self, path: Path) -> None:
        try:
            check_gguf(path)
        except GgufError as error:
            raise ModelFileError(str(error)) from None
        self.path = path
        self._open = threading.Lock()  # held while the vocabulary is read, so that it is not freed meanwhile
        llama_cpp.llama_log_set(_keep_complaints, None)
        _complaints.clear()
        parameters = llama_cpp.llama_model_default_params()
        parameters.use_extra_bufts = False  # no repacking
        parameters.n_gpu_layers = 0
        self.pointer = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.pointer:
            raise ModelFileError(f"{path}: llama.cpp cannot load it ({_reason()})")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.pointer)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        try:
            self.im_start, self.im_end = (self._control(token) for token in (IM_START, IM_END))
            self.tokenize = as_plain_text(self._tokenize, self._matched_tokens())
        except ValueError as error:
            self.close()
            raise ModelFileError(f"{path}: {error}") from None
        self.encoder = PromptEncoder(self.tokenize, self.im_start, self.im_end)

    def parse(self, text: str, *, begin: bool = False) -> list[int]:
        """Ids of a rendered prompt as llama.cpp's programs read it, never of typed text; `begin` adds what they do."""
        return self._tokenize(text, special=True, begin=begin)

    def _control(self, token: str) -> int:
        ids = self._tokenize(token, special=True)
        if len(ids) != 1 or not llama_cpp.llama_vocab_is_control(self.vocabulary, ids[0]):
            raise ValueError(f"its vocabulary has no {token}, so it is not a ChatML model such as Qwen2.5")
        return ids[0]

    def _matched_tokens(self) -> list[str]:
        """Added tokens that llama.cpp matches in plain text even when told to parse none."""
        user_defined = [
            token
            for token in range(self.size)
            if llama_cpp.llama_vocab_get_attr(self.vocabulary, token) & llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
        ]
        return [llama_cpp.llama_vocab_get_text(self.vocabulary, token).decode() for token in user_defined]

    def _tokenize(self, text: str, special: bool = False, begin: bool = False) -> list[int]:
        raw = text.encode("utf-8", errors="replace")
        room = len(raw) + 8
        ids = (llama_cpp.llama_token * room)()
        with self._open:
            if self.pointer is None:
                raise RuntimeError("the model is closed")
            count = llama_cpp.llama_tokenize(self.vocabulary, raw, len(raw), ids, room, begin, special)
        if count < 0:
            raise RuntimeError(f"llama.cpp needs {-count} tokens for {len(raw)} bytes of text")
        return ids[:count]

    def piece(self, token: int) -> bytes:
        """The bytes a token stands for; none for control tokens."""
        buffer = ctypes.create_string_buffer(256)
        count = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, False)
        return buffer.raw[: max(count, 0)]

    def ends_generation(self, token: int) -> bool:
        """Whether a token ends the answer."""
        return llama_cpp.llama_vocab_is_eog(self.vocabulary, token)

    def adapter(self, path: Path) -> llama_cpp.llama_adapter_lora_p:
        """Load a LoRA adapter in GGUF, which lives as long as the model. Raises `ModelFileError`."""
        try:
            check_gguf(path)
        except GgufError as error:
            raise ModelFileError(str(error)) from None
        _complaints.clear()
        found = llama_cpp.llama_adapter_lora_init(self.pointer, str(path).encode())
        if not found:
            raise ModelFileError(f"{path}: llama.cpp cannot put it on this model ({_reason()})")
        return found

    def close(self) -> None:
        """Free the weights, and adapters with them; safe to repeat."""
        with self._open:
            pointer, self.pointer = self.pointer, None
            if pointer:
                llama_cpp.llama_model_free(pointer)


class Context:
    """A KV cache of at most the trained length, shared by `SEQUENCES` sequences. Not safe for two threads at once."""

    def __init__(self, model: Model, n_ctx: int, n_threads: int) -> None:
        self.model, self.n_ctx = model, min(n_ctx, llama_cpp.llama_model_n_ctx_train(model.pointer))
        if self.n_ctx < 1:
            raise ModelFileError(f"{model.path}: its context length is {self.n_ctx} tokens; export it again")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = max(self.n_ctx, BATCH)  # with less room llama.cpp takes smaller batches, and aborts at ours
        parameters.n_batch, parameters.n_outputs_max = BATCH, OUTPUTS
        parameters.n_seq_max, parameters.kv_unified = SEQUENCES, True
        parameters.n_threads = parameters.n_threads_batch = n_threads
        parameters.no_perf = True
        self.pointer = llama_cpp.llama_init_from_model(model.pointer, parameters)
        if not self.pointer:
            raise ModelFileError(f"{model.path}: llama.cpp cannot make a context of {n_ctx} tokens ({_reason()})")
        self.memory = llama_cpp.llama_get_memory(self.pointer)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
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
                    self._flag[0] = b"\1"
                    return

        watcher = threading.Thread(target=watch, daemon=True, name="engine-cancel")
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
            self._flag[0] = b"\0"

    def wear(self, adapter: llama_cpp.llama_adapter_lora_p) -> None:
        """Add a LoRA adapter of the model, at full strength; what was computed before is forgotten."""
        adapters, scales = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter), (ctypes.c_float * 1)(1.0)
        if code := llama_cpp.llama_set_adapters_lora(self.pointer, adapters, 1, scales):
            raise RuntimeError(f"llama_set_adapters_lora returned {code}")
        self.forget(-1)

    def decode(self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]):
        """Compute `tokens` (at most BATCH), each at a position of a sequence, with logits at the `wanted` indices."""
        if len(tokens) > BATCH:  # written beyond the batch's memory otherwise
            raise ValueError(f"{len(tokens)} tokens at once; a batch holds {BATCH}")
        batch = self.batch
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, positions[index]
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequences[index]
            batch.logits[index] = 0
        for index in wanted:
            batch.logits[index] = 1
        code = llama_cpp.llama_decode(self.pointer, batch)
        if code == ABORTED:
            raise Aborted
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code} for {len(tokens)} tokens ({_reason()})")

    def log_probabilities(self, index: int, tokens: Sequence[int]) -> np.ndarray:
        """Natural-log probabilities, float64 [len(tokens)], of tokens after position `index` of the last batch."""
        logits = llama_cpp.llama_get_logits_ith(self.pointer, index)
        row = np.ctypeslib.as_array(logits, (self.model.size,))
        top = row.max()
        total = float(top) + np.log(np.exp(row - top).sum(dtype=np.float64))
        return row[np.asarray(tokens)].astype(np.float64) - total

    def logits(self, indices: Sequence[int]) -> np.ndarray:
        """Raw logits, float32 [len(indices), vocabulary], after those `wanted` positions of the last batch; a copy."""
        rows = np.empty((len(indices), self.model.size), dtype=np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[:] = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.pointer, index), (self.model.size,))
        return rows

    def share(self, source: int, target: int) -> None:
        """Make `target` hold what `source` holds, without copying."""
        self.forget(target)
        llama_cpp.llama_memory_seq_cp(self.memory, source, target, -1, -1)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop the tokens of a sequence from position `start` on; -1 means every sequence."""
        llama_cpp.llama_memory_seq_rm(self.memory, sequence, start, -1)

    def close(self) -> None:
        """Free the cache; safe to repeat."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            llama_cpp.llama_batch_free(self.batch)
            llama_cpp.llama_free(pointer)


def _reason() -> str:
    return " ".join(" ".join(_complaints).split()) or "it gave no reason"
