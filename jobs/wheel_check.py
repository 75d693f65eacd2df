"""What a wheel of llama-cpp-python needs of the machine that runs it, and whether it computes what it should."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jobs import wheel_probe
from jobs.errors import UserError

# Debian 12's: what is built on a newer system does not start there.
GLIBC, LIBSTDCXX = "2.36", "3.4.30"
SYSTEM = {"libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libgomp.so.1", "ld-linux-x86-64.so.2"}
FURTHEST = 0.01  # of the logits' range, between two builds: sums are taken in another order
WIDTH, WIDER, LAYERS, HEADS, VOCABULARY = 256, 512, 2, 4, 512


def check_wheel(wheel: Path, place: Path) -> dict[str, Any]:
    """Look into the wheel's libraries and let it write a few tokens; what was found. Raises `UserError`."""
    target = place / "installed"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target)
    libraries = sorted((target / "llama_cpp" / "lib").glob("*.so"))
    if not libraries:
        raise UserError(f"{wheel.name}: holds no library; take the folder away and build it again")
    return {**_needs(wheel.name, libraries), "tokens_equal": _compare(wheel.name, target, place)}


def _needs(wheel: str, libraries: Sequence[Path]) -> dict[str, Any]:
    """The newest versions and the libraries that are asked of the system, and AVX-512, which must not be there."""
    symbols = "".join(_objdump("-T", path) for path in libraries)
    glibc, libstdcxx = _newest("GLIBC", symbols), _newest("GLIBCXX", symbols)
    own = {path.name.split(".so")[0] for path in libraries}
    named = {name for path in libraries for name in re.findall(r"NEEDED\s+(\S+)", _objdump("-p", path))}
    outside = sorted(name for name in named if name.split(".so")[0] not in own)
    wide = sum(_objdump("-d", path).count("%zmm") for path in libraries)
    if strange := set(outside) - SYSTEM:
        raise UserError(f"{wheel}: needs {min(strange)}, which a Space lacks; build it on Debian 12")
    for name, found, most in (("GLIBC", glibc, GLIBC), ("GLIBCXX", libstdcxx, LIBSTDCXX)):
        if _number(found) > _number(most):
            raise UserError(f"{wheel}: needs {name} {found}, Debian 12 has {most}; build it there")
    if wide:
        raise UserError(f"{wheel}: {wide} instructions of AVX-512, which a Space's processor may lack; clear CXXFLAGS")
    return {"glibc": glibc, "libstdcxx": libstdcxx, "libraries": outside, "avx512_instructions": wide}


def _objdump(option: str, path: Path) -> str:
    return subprocess.run(["objdump", option, str(path)], capture_output=True, text=True, check=True).stdout


def _newest(name: str, symbols: str) -> str:
    return max(re.findall(rf"\b{name}_(\d+(?:\.\d+)+)", symbols), key=_number, default="0")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _compare(wheel: str, target: Path, place: Path) -> bool | None:
    """Whether the wheel writes what the installed package writes; None where none is installed."""
    model = place / "probe.gguf"
    write_probe(model)
    new = _probe(model, {"PYTHONPATH": str(target)})
    if not Path(new["package"]).is_relative_to(target):
        raise UserError(f"{wheel}: another llama_cpp was loaded ({new['package']}); run it in an environment without")
    if find_spec("llama_cpp") is None:
        return None
    known = _probe(model, {})
    span = max(known["logits"]) - min(known["logits"])
    furthest = max(abs(one - other) for one, other in zip(new["logits"], known["logits"], strict=True))
    if new["tokens"] != known["tokens"] or furthest > FURTHEST * span:
        share = furthest / span
        raise UserError(f"{wheel}: computes other values than the installed package ({share:.3f} of their range)")
    return True


def _probe(model: Path, environment: dict[str, str]) -> dict[str, Any]:
    """What a process of its own says that has loaded the model; a library that cannot be loaded ends it."""
    without = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-P", str(Path(wheel_probe.__file__).resolve()), str(model)]
    done = subprocess.run(command, env=without | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = next(iter(done.stderr.strip().splitlines()[-1:]), "no reason given")
        raise UserError(f"llama_cpp does not run here (exit {done.returncode}: {last}); build it again")
    return json.loads(done.stdout.splitlines()[-1])


def write_probe(path: Path) -> None:
    """A random model whose matrices are of the types of a Q4_K_M file: what the page serves is computed in them."""
    import gguf
    import numpy as np

    random = np.random.default_rng(17)
    writer = gguf.GGUFWriter(path, "llama")
    _write_header(writer)
    for name, rows, columns in _matrices():
        kinds = gguf.GGMLQuantizationType
        kind = kinds.Q6_K if name in ("token_embd", "output") else kinds.Q4_K
        writer.add_tensor(f"{name}.weight", _blocks(random, kind, rows, columns), raw_dtype=kind)
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_header(writer: Any) -> None:
    import gguf

    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("llama")
    plain = [f"<0x{byte:02X}>".encode() for byte in range(256)]
    tokens = [b"<unk>", b"<s>", b"</s>", *plain]
    tokens += [f"word{number}".encode() for number in range(VOCABULARY - len(tokens))]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 2, *[gguf.TokenType.BYTE] * 256]
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(VOCABULARY)])
    writer.add_token_types([*kinds, *[gguf.TokenType.NORMAL] * (VOCABULARY - len(kinds))])


def _matrices() -> list[tuple[str, int, int]]:
    """Name, rows and columns of each matrix."""
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
    shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_gate": (WIDER, WIDTH), "ffn_up": (WIDER, WIDTH)}
    shapes |= {"ffn_down": (WIDTH, WIDER)}
    layers = [(f"blk.{layer}.{name}", *shape) for layer in range(LAYERS) for name, shape in shapes.items()]
    return [("token_embd", VOCABULARY, WIDTH), ("output", VOCABULARY, WIDTH), *layers]


def _blocks(random: Any, kind: Any, rows: int, columns: int) -> Any:
    """Random blocks of 256 weights with a small scale: bytes as ggml lays them out (block_q4_K, block_q6_K)."""
    import gguf
    import numpy as np

    blocks = random.integers(0, 256, (rows * columns // 256, gguf.GGML_QUANT_SIZES[kind][1]), np.uint8)
    if kind == gguf.GGMLQuantizationType.Q4_K:
        blocks[:, :4] = np.array([4e-4, 7.5 * 4e-4], np.float16).view(np.uint8)  # scales and minima: the mean is nought
    else:
        blocks[:, -2:] = np.array([5e-5], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)
