"""A GGUF file in llama.cpp: its weights, its vocabulary, and why it cannot be used where it cannot.

The low-level binding, not `llama_cpp.Llama`: that class repacks weights (+1.3 GB for a 3B, and slower on AVX2), parses
special tokens out of what a visitor typed, and gives log-probabilities only with logits for every position kept
(n_ctx × 151,936 × 4 bytes).
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from pathlib import Path

import llama_cpp

from qa.gguf_file import GgufError, check_gguf
from qa.machine import cores
from qa.prompts import IM_END, IM_START, PromptEncoder, as_plain_text

SMALL_FILE = 64 << 20  # bytes; below, waiting for a second thread costs more than it saves (up to 50 × on busy cores)
ERROR = 4  # ggml's log level

_complaints: deque[str] = deque(maxlen=12)


def threads_for(path: Path) -> int:
    """Threads for a model file: every core that this process may use (`cores`), or one for a tiny file."""
    return 1 if path.stat().st_size < SMALL_FILE else cores()


class ModelFileError(ValueError):
    """A model file that cannot be used: one line that names the file and says why."""


@llama_cpp.llama_log_callback
def _keep_complaints(level: int, text: bytes, _data: ctypes.c_void_p) -> None:
    if level == ERROR:
        _complaints.append(text.decode("utf-8", errors="replace").strip())


class Model:
    """Weights and vocabulary of one GGUF file; text goes in by its `encoder`. Raises `ModelFileError`.

    `repack` lays the weights out for the processor's widest instructions, which is faster on some and slower on others.
    """

    def __init__(self, path: Path, *, repack: bool = False) -> None:
        self.path = path
        self._open = threading.Lock()  # held while the vocabulary is read, so that it is not freed meanwhile
        self.pointer = _loaded(path, repack)
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
        _check(path)
        found = llama_cpp.llama_adapter_lora_init(self.pointer, str(path).encode())
        if not found:
            raise ModelFileError(f"{path}: llama.cpp cannot put it on this model ({reason()})")
        return found

    def close(self) -> None:
        """Free the weights, and adapters with them; safe to repeat."""
        with self._open:
            pointer, self.pointer = self.pointer, None
            if pointer:
                llama_cpp.llama_model_free(pointer)


def _loaded(path: Path, repack: bool) -> llama_cpp.llama_model_p:
    llama_cpp.llama_log_set(_keep_complaints, None)
    _check(path)
    parameters = llama_cpp.llama_model_default_params()
    parameters.use_extra_bufts = repack
    if repack:  # read, not mapped: mapped pages would stay beside the repacked copy (3.4 GB for a 3B, not 2.1)
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    parameters.n_gpu_layers = 0
    pointer = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    if not pointer:
        raise ModelFileError(f"{path}: llama.cpp cannot load it ({reason()})")
    return pointer


def _check(path: Path) -> None:
    """Refuse a file that llama.cpp must not see, and begin anew to listen to what it says of this one."""
    try:
        check_gguf(path)
    except GgufError as error:
        raise ModelFileError(str(error)) from None
    _complaints.clear()


def reason() -> str:
    """What llama.cpp complained of last, in one line."""
    return " ".join(" ".join(_complaints).split()) or "it gave no reason"
