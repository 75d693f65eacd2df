"""Adapter to Q4_K_M on Qwen2.5-3B's shape: ours beside peft, llama.cpp's converter and llama-quantize, on this disk.

Three stages, each a process of its own, that read files which are not in the page cache. Ours is the code that
`python -m jobs.merge` and `python -m jobs.export` run; gate and importance matrix are left out, since nothing on the
other side does their work, and so are the hashes of export's record (merge's are in). What both made is compared.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import converter
from benchmarks.export_report import STAGES, Cost, Round, Stage, heading, limits, missed, table
from benchmarks.paired import ROOT, measure, measure_command
from benchmarks.random_model import LAYERS, Shape
from benchmarks.same_tensors import compare_tensors
from jobs.disk import check_room
from jobs.errors import UserError, first_line

ROUNDS = 1
TOKENIZER = "Qwen/Qwen2.5-3B-Instruct"
LLAMA_CPP = Path(os.environ.get("FOOTNOTE_LLAMA_CPP") or ROOT / "build" / "llama.cpp")  # what `make llama-tools` makes
CONVERTER, QUANTIZER = Path("source") / converter.MODEL, Path("bin/llama-quantize")
SIDES = ("theirs", "ours")
PROBE = 1 << 30  # bytes written to learn how fast the disk takes them
MAKE = """
import sys
from pathlib import Path
from benchmarks.random_model import Shape, make_model
make_model(Path(sys.argv[1]), Path(sys.argv[2]), Shape(layers=int(sys.argv[3])))
"""
PEFT = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
PeftModel.from_pretrained(model, sys.argv[2]).merge_and_unload().save_pretrained(sys.argv[3])
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[3])
"""
WRITE = """
import sys
from pathlib import Path
from jobs.gguf_export.writer import Provenance, write_gguf
write_gguf(Path(sys.argv[1]), Path(sys.argv[2]), "f16", Provenance(name="bench"))
"""
QUANTIZE = """
import sys, time
from pathlib import Path
from jobs.gguf_export.quantizer import quantize
begun = time.perf_counter()
quantize(Path(sys.argv[1]), Path(sys.argv[2]), "q4_k_m")
print(f"quantize time = {1000 * (time.perf_counter() - begun):.2f} ms")
"""


@dataclass(frozen=True)
class Places:
    """Where everything lies: the made model, the folder of what both sides write, and how many layers there are."""

    base: Path
    adapter: Path
    work: Path

    def made(self, stage: str, side: str) -> Path:
        """The folder or file that a side's stage writes."""
        return self.work / (f"merge-{side}" if stage == STAGES[0] else f"{stage}-{side}.gguf")

    def read(self, stage: str, side: str) -> tuple[Path, ...]:
        """What a side's stage reads."""
        place = STAGES.index(stage)
        return (self.made(STAGES[place - 1], side),) if place else (self.base, self.adapter)


def main(*, tokenizer: str = TOKENIZER, layers: int = LAYERS, rounds: int = ROUNDS, keep: Path | None = None) -> None:
    """Make the model, run both sides in turn and print the table. Ends with exit code 1 where results differ."""
    console = Console()
    title = heading(layers, rounds)
    check_tools()
    with folder(keep) as home, tempfile.TemporaryDirectory(prefix="work-", dir=home) as work:
        places = Places(home / "base", home / "adapter", Path(work))
        made = (places.base / "config.json").is_file()
        check_room(Path(work), needed_bytes(layers, made), "the model, and what two sides make of it")
        if not made:
            console.print(f"making a random model of {layers} layers in {home}")
            make(places, tokenizer, layers)
        check_layers(places.base, layers)
        bandwidth = write_bandwidth(Path(work))
        found = [run(places, number, rounds, console) for number in range(rounds)]
    console = Console(width=max(console.width, 120))  # a log has no width of its own
    console.print(title, highlight=False, soft_wrap=True)
    console.print(table(found))
    console.print("\n".join(limits(found, bandwidth)), highlight=False, soft_wrap=True)
    if wrong := missed(found):
        raise SystemExit(f"export: {wrong}")


def check_tools() -> None:
    """Raise `UserError` where llama.cpp's converter or quantiser is not there."""
    for tool in (CONVERTER, QUANTIZER):
        if not (LLAMA_CPP / tool).exists():
            raise UserError(f"{LLAMA_CPP / tool}: not there; run `make llama-tools`, which builds llama.cpp's own")


def needed_bytes(layers: int, made: bool) -> int:
    """At the fullest moment: the model, both merged ones and both F16 files; each takes two bytes a weight."""
    return 2 * Shape(layers).weights * (4 if made else 5) + PROBE


@contextmanager
def folder(keep: Path | None) -> Iterator[Path]:
    """The folder of the made model: `keep`, in which it stays, or one that goes."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="footnote-bench-") as made:
            yield Path(made)
    else:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()


def make(places: Places, tokenizer: str, layers: int) -> None:
    """Write the model and its adapter; one that is not whole is not kept. Raises `UserError` without a tokenizer."""
    partial = places.base.with_name("base.partial")
    for leftover in (partial, places.adapter):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    save_tokenizer(tokenizer, partial)
    measure(MAKE, str(partial), str(places.adapter), str(layers))
    config = places.adapter / "adapter_config.json"
    config.write_text(config.read_text().replace(str(partial), str(places.base)))  # the base that it is made for
    partial.rename(places.base)


def check_layers(base: Path, layers: int) -> None:
    """Raise `UserError` where the kept model is another one."""
    found = json.loads((base / "config.json").read_text())["num_hidden_layers"]
    if found != layers:
        raise UserError(f"--keep {base.parent}: its model has {found} layers, not {layers}; name another folder")


def save_tokenizer(name: str, target: Path) -> None:
    """Put the tokenizer beside the model: the converter knows a tokenizer by how it splits a text, so a real one."""
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(name).save_pretrained(target)
    except (OSError, ValueError) as error:
        raise UserError(f"--tokenizer {name}: {first_line(error)}; name a folder with Qwen2.5's tokenizer") from None


def write_bandwidth(work: Path) -> float:
    """Bytes that this disk takes in a second, to the platter: what cannot be compressed or skipped, then fsync."""
    block, path = os.urandom(64 << 20), work / "probe"
    os.sync()
    begun = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(PROBE // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - begun
    path.unlink()
    return PROBE / seconds


def run(places: Places, number: int, rounds: int, console: Console) -> Round:
    """All stages on both sides, which take turns in beginning; what both have read is deleted."""
    order = SIDES if number % 2 == 0 else SIDES[::-1]
    stages = []
    for stage in STAGES:
        costs = {}
        for side in order:
            console.print(f"round {number + 1} of {rounds}: {stage}, {side}")
            costs[side] = cost_of(places, stage, side)
        same = compare_tensors(*(places.made(stage, side) for side in reversed(SIDES)))
        stages.append(Stage(stage, costs["ours"], costs["theirs"], same))
        for side in SIDES:
            remove(places.read(stage, side))
    for side in SIDES:
        remove((places.made(STAGES[-1], side),))
    return Round(tuple(stages))


def remove(paths: Sequence[Path]) -> None:
    """Delete what a stage read, unless it is the made model."""
    for path in paths:
        if path.name.startswith(STAGES):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def cost_of(places: Places, stage: str, side: str) -> Cost:
    """Run one side's stage on files that are not in the page cache, and wait for the disk."""
    log = places.work / "log"
    forget(places.read(stage, side))
    usage = measure_command(command(places, stage, side), log)
    begun = time.perf_counter()
    os.sync()
    said = re.search(r"quantize time = *([\d.]+) ms", log.read_text(errors="replace"))
    return Cost(usage, time.perf_counter() - begun, float(said[1]) / 1000 if said else 0.0)


def forget(paths: Sequence[Path]) -> None:
    """Drop files from the page cache, so that no side finds there what the other left."""
    os.sync()
    for path in paths:
        for file in path.rglob("*") if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def command(places: Places, stage: str, side: str) -> list[str]:
    """What one side runs."""
    reads, target = [str(path) for path in places.read(stage, side)], str(places.made(stage, side))
    ours = {
        "merge": [sys.executable, "-m", "jobs.merge", *reads, "--out", target],
        "F16": [sys.executable, "-c", WRITE, *reads, target],
        "Q4_K_M": [sys.executable, "-c", QUANTIZE, *reads, target],
    }
    theirs = {
        "merge": [sys.executable, "-c", PEFT, *reads, target],
        "F16": converter.converting(
            LLAMA_CPP / CONVERTER.parent, [converter.MODEL, *reads, "--outtype", "f16", "--outfile", target]
        ),
        "Q4_K_M": [str(LLAMA_CPP / QUANTIZER), *reads, target, "Q4_K_M", str(os.cpu_count())],
    }
    return (ours if side == "ours" else theirs)[stage]
