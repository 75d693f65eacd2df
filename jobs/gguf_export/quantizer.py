"""llama.cpp's own quantiser, through llama-cpp-python's binding of `llama_model_quantize`.

With an importance matrix or without, the file is that of llama-quantize, byte for byte (tools/quantize/quantize.cpp);
only `quantize.imatrix.file` names the matrix without the folder it lay in.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from jobs import stopping
from jobs.config import PlainType, QuantisedType
from jobs.errors import UserError
from jobs.gguf_export.imatrix import ImportanceMatrix
from jobs.progress import bar
from qa.gguf_file import GgufError, GgufTensor, check_gguf

PLAIN: tuple[str, ...] = get_args(PlainType)
QUANTISED = {kind: kind.upper() for kind in get_args(QuantisedType)}  # by llama.cpp's names
UNQUANTISED = {0, 1, 30}  # ggml's numbers of F32, F16 and BF16
# Rows held at once, as stored, in float32 and quantised. llama-quantize's 8 GiB take 2.1 GB at Qwen2.5-3B's embedding,
# this 0.74 GB, of which 0.62 are that tensor's pages of the mapped source (llama.cpp lets each tensor's go when it is
# done); wall time and bytes are the same.
BUFFER = 64 << 20
OVERRIDE = 127  # bytes of a metadata value that llama_model_kv_override can hold
INT, STR = 0, 3  # llama.cpp's tags of such values
ERROR = 4  # ggml's log level


def quantize(source: Path, target: Path, kind: str, imatrix: Path | None = None) -> int:
    """Quantise an F16, BF16 or F32 GGUF with all cores; `imatrix` is a file in llama.cpp's GGUF format.

    Returns how many tensors have rows that the type's blocks of 256 do not fill, for which llama.cpp takes another
    type. `target` is renamed from `<target>.partial` when it is whole. Raises `UserError` for a source that is
    quantised already or damaged, for an importance matrix of another model, and with llama.cpp's last words.
    """
    tensors = _plain_tensors(source, kind)
    matrix = _matrix(imatrix, tensors, source) if imatrix else None
    partial = target.with_name(f"{target.name}.partial")
    with bar(len(tensors), f"quantize {kind}", unit="tensor") as shown, _interrupted() as stop:
        log = _Log(shown, stop, partial)
        try:
            failed = _run(source, partial, kind, matrix, imatrix, log)
            stopping.check()
            if stop.is_set():
                raise KeyboardInterrupt
            if failed:
                raise UserError(_failure(source, target, kind, log.complaints))
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return log.fallbacks


def bits_per_weight(path: Path) -> float:
    """Bits of the file's tensors for each of its weights. Raises `UserError` for a file that is no whole GGUF."""
    tensors = _tensors(path)
    return 8 * sum(tensor.bytes for tensor in tensors) / sum(math.prod(tensor.shape) for tensor in tensors)


def _tensors(path: Path) -> Sequence[GgufTensor]:
    try:
        tensors = check_gguf(path).tensors
    except GgufError as error:
        raise UserError(str(error)) from None
    if not tensors:
        raise UserError(f"{path}: holds no tensor; export the model again")
    return tensors


def _plain_tensors(source: Path, kind: str) -> Sequence[GgufTensor]:
    if kind not in QUANTISED:
        raise UserError(f"type {kind}: cannot be quantised to; known are {', '.join(QUANTISED)}")
    tensors = _tensors(source)
    if done := [tensor.name for tensor in tensors if tensor.kind not in UNQUANTISED]:
        raise UserError(f"{source}: {done[0]} is quantised already; quantise the F16, BF16 or F32 file")
    return tensors


def _matrix(path: Path, tensors: Sequence[GgufTensor], source: Path) -> ImportanceMatrix:
    """The matrix, if it is of this model: an entry of its width for every linear layer of the blocks, no stranger."""
    matrix = ImportanceMatrix.read(path)
    inputs = {tensor.name: tensor.shape[0] for tensor in tensors if len(tensor.shape) == 2}
    if strange := sorted(matrix.sums.keys() - inputs.keys()):
        raise UserError(f"{path}: made for another model: {source} has no {strange[0]}")
    for name, width in inputs.items():
        if name in matrix.sums and len(matrix.sums[name]) != width:
            found = len(matrix.sums[name])
            raise UserError(f"{path}: made for another model: {name} has {found} inputs in it, {width} in {source}")
        if name.startswith("blk.") and name not in matrix.sums:
            raise UserError(f"{path}: no entry for {name} of {source}; compute the importance matrix on this model")
    return matrix


def _run(source: Path, target: Path, kind: str, matrix: ImportanceMatrix | None, file: Path | None, log: _Log) -> bool:
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{QUANTISED[kind]}")
    params.max_buf_size = BUFFER
    means = matrix.means() if matrix else {}  # llama.cpp reads these arrays: they live until it is done
    if matrix and file:
        params.imatrix, params.kv_overrides = _entries(means), _overrides(matrix, file)
    callback = llama_cpp.llama_log_callback(log)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        return bool(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)))
    finally:
        _restore_log()


def _entries(means: dict[str, Any]) -> ctypes.Array[Any]:
    """llama.cpp's list of (name, float32 values, how many), ended by an empty entry."""
    import llama_cpp

    entries = (llama_cpp.llama_model_imatrix_data * (len(means) + 1))()
    for entry, (name, values) in zip(entries, means.items(), strict=False):
        entry.name, entry.size = name.encode(), len(values)
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return entries


def _overrides(matrix: ImportanceMatrix, file: Path) -> ctypes.Array[Any]:
    """What the file says of its importance matrix, in llama-quantize's order, ended by an empty entry."""
    import llama_cpp

    values: dict[str, str | int] = {"file": file.name}
    if matrix.datasets:
        values["dataset"] = matrix.datasets[0]
    values["entries_count"] = len(matrix.sums)
    if matrix.chunks:
        values["chunks_count"] = matrix.chunks
    overrides = (llama_cpp.llama_model_kv_override * (len(values) + 1))()
    for override, (name, value) in zip(overrides, values.items(), strict=False):
        override.key = f"quantize.imatrix.{name}".encode()
        if isinstance(value, int):
            override.tag, override.value.val_i64 = INT, value
        else:
            override.tag = STR
            override.value.val_str = value.encode()[:OVERRIDE].decode(errors="ignore").encode()
    return overrides


class _Log:
    """Listens to llama.cpp: how far it is, what it complains of, how many tensors took another type."""

    def __init__(self, shown: Any, stop: threading.Event, target: Path) -> None:
        self.complaints: list[str] = []
        self.fallbacks = 0
        self._shown, self._stop, self._target = shown, stop, target

    def __call__(self, level: int, text: bytes, _data: Any) -> None:
        said = text.decode("utf-8", "replace").strip()
        if place := re.match(r"\[\s*(\d+)/\s*(\d+)\]", said):
            self._shown.update(int(place[1]) - 1 - self._shown.n)
        elif warned := re.search(r"WARNING: (\d+) of \d+ tensor\(s\) required fallback", said):
            self.fallbacks = int(warned[1])
        elif level == ERROR and said:
            self.complaints.append(said)
        if self._stop.is_set() or stopping.asked():
            _end_writing(self._target)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Within it Ctrl-C sets the event and SIGTERM is deferred: what is raised in llama.cpp's callback is lost."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # which alone has signals
        yield stop
        return
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with stopping.deferred():
            yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _end_writing(target: Path) -> None:
    """Make llama.cpp's next write fail, the one way to stop it: its file becomes /dev/full. On Linux alone."""
    descriptors = Path("/proc/self/fd")
    if not (descriptors.is_dir() and target.exists()):
        return
    for link in descriptors.iterdir():
        if link.exists() and link.samefile(target):
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, int(link.name))
            os.close(full)


def _failure(source: Path, target: Path, kind: str, complaints: Sequence[str]) -> str:
    reason = " ".join(complaints[-2:]).rpartition("failed to quantize: ")[2] or "it gave no reason"
    if "basic_ios" in reason or "iostream" in reason:  # all that C++ says of a write that failed
        return f"{target}: could not be written; is the disk full?"
    return f"{source}: llama.cpp could not quantise it to {kind}: {reason}"


def _restore_log() -> None:
    import llama_cpp
    from llama_cpp._logger import llama_log_callback

    llama_cpp.llama_log_set(llama_log_callback, ctypes.c_void_p(0))
