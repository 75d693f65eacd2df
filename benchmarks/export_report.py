"""The table of the export's benchmark: what each stage took on both sides, what is equal, and what limits us."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from rich.table import Table

from benchmarks.paired import Usage
from benchmarks.same_tensors import Sameness
from jobs.gguf_ladder.speed import cpu_name

STAGES = ("merge", "F16", "Q4_K_M")
ALL = "all three"
GOALS = (  # ours over theirs, at most
    (ALL, "peak MB", 0.25),
    (ALL, "wall s", 1.0),
    (ALL, "wall s until on disk", 1.0),
    ("merge", "wall s", 1.0),
    ("F16", "CPU s", 1.0),
    ("F16", "peak MB", 1.0),
)
MERGE_PEAK = 1500  # MB, at most, whatever theirs takes


@dataclass(frozen=True)
class Cost:
    """What one side's stage took; `sync_seconds` is how long the disk was still busy after the process had ended."""

    usage: Usage
    sync_seconds: float
    quantizer_seconds: float = 0.0  # what the quantiser says of itself

    @property
    def disk_seconds(self) -> float:
        """From the start until everything is on the disk."""
        return self.usage.wall_seconds + self.sync_seconds


@dataclass(frozen=True)
class Stage:
    """One stage on both sides, and whether they made the same."""

    name: str
    ours: Cost
    theirs: Cost
    same: Sameness


@dataclass(frozen=True)
class Round:
    """Every stage once."""

    stages: tuple[Stage, ...]


Total = Callable[[Sequence[float]], float]  # of the stages: their sum or, of memory, the largest
MEASURES: dict[str, tuple[Callable[[Cost], float], Total]] = {
    "wall s": (lambda cost: cost.usage.wall_seconds, sum),
    "wall s until on disk": (lambda cost: cost.disk_seconds, sum),
    "CPU s": (lambda cost: cost.usage.cpu_seconds, sum),
    "peak MB": (lambda cost: cost.usage.peak_bytes / 1e6, max),
    "peak MB without mapped files": (lambda cost: cost.usage.anonymous_bytes / 1e6, max),
    "MB written": (lambda cost: cost.usage.written_bytes / 1e6, sum),
}


def heading(layers: int, rounds: int) -> str:
    """What was compared, on what machine."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "peft", "transformers", "llama-cpp-python"))
    return (
        f"export of Qwen2.5-3B's shape, {layers} layers: ours against peft, llama.cpp's converter and llama-quantize, "
        f"rounds: {rounds}\n{os.cpu_count()} cores of {cpu_name()}; {packages}"
    )


def table(rounds: Sequence[Round]) -> Table:
    """A row for each stage and measure, and for all stages together: medians over the rounds."""
    shown = Table(box=None)
    for column in ("stage", "", "theirs", "ours", "ours / theirs", "equal tensors"):
        shown.add_column(column, justify="left" if column in ("stage", "") else "right", no_wrap=True)
    for place, name in enumerate(STAGES):
        same = min((each.stages[place].same for each in rounds), key=lambda same: same.equal)
        for measure in MEASURES:
            first = measure == next(iter(MEASURES))
            equal = f"{same.equal} of {same.total}" if first else ""
            shown.add_row(name if first else "", measure, *_cells(rounds, measure, (place,)), equal)
        shown.add_section()
    for measure in MEASURES:
        name = ALL if measure == next(iter(MEASURES)) else ""
        shown.add_row(name, measure, *_cells(rounds, measure, range(len(STAGES))), "")
    return shown


def _cells(rounds: Sequence[Round], measure: str, places: Sequence[int]) -> list[str]:
    pairs = [_pair(each, measure, places) for each in rounds]
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [ours / theirs for theirs, ours in pairs if theirs]
    return [f"{theirs:,.1f}", f"{ours:,.1f}", _spread(ratios)]


def _pair(found: Round, measure: str, places: Sequence[int]) -> tuple[float, float]:
    """Theirs and ours over some stages."""
    of, total = MEASURES[measure]
    stages = [found.stages[place] for place in places]
    return total([of(stage.theirs) for stage in stages]), total([of(stage.ours) for stage in stages])


def _spread(ratios: Sequence[float]) -> str:
    if not ratios:
        return "–"
    middle = f"{statistics.median(ratios):.2f}"
    return middle if len(ratios) == 1 else f"{middle} ({min(ratios):.2f}–{max(ratios):.2f})"


def limits(rounds: Sequence[Round], bandwidth: float) -> list[str]:
    """What is left to gain: how long writing alone takes, the quantiser's share, and whether the goals are met."""
    every = range(len(STAGES))
    wall = statistics.median(_pair(each, "wall s until on disk", every)[1] for each in rounds)
    written = statistics.median(_pair(each, "MB written", every)[1] for each in rounds) * 1e6
    quantizer = statistics.median(each.stages[-1].ours.quantizer_seconds for each in rounds)
    writing = written / bandwidth
    shares = (
        f"ours takes {wall:.0f} s until all is on disk; writing its {written / 1e9:.1f} GB at the "
        f"{bandwidth / 1e6:.0f} MB/s that this disk was measured to take is {writing:.0f} s ({writing / wall:.0%}), in "
        f"part while it computes (reading is not counted); llama.cpp's quantiser is {quantizer:.0f} s "
        f"({quantizer / wall:.0%})"
    )
    return [shares, *(_goal(rounds, *goal) for goal in GOALS), _merge_goal(rounds)]


def _goal(rounds: Sequence[Round], name: str, measure: str, goal: float) -> str:
    places = range(len(STAGES)) if name == ALL else (STAGES.index(name),)
    pairs = [_pair(each, measure, places) for each in rounds]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    return f"{name}, {measure}: {ratio:.2f} of theirs; at most {goal:.2f} is the goal: {_met(ratio <= goal)}"


def _merge_goal(rounds: Sequence[Round]) -> str:
    peak = statistics.median(_pair(each, "peak MB", (0,))[1] for each in rounds)
    return f"merge, peak MB: {peak:,.0f}; at most {MERGE_PEAK:,} is the goal: {_met(peak <= MERGE_PEAK)}"


def _met(met: bool) -> str:
    return "met" if met else "MISSED"


def missed(rounds: Sequence[Round]) -> str:
    """Where both sides made something else, in one line; empty where all tensors are equal in every round."""
    return "; ".join(sorted(set(_differences(rounds))))


def _differences(rounds: Sequence[Round]) -> Iterator[str]:
    for found in rounds:
        for stage in found.stages:
            same = stage.same
            if same.equal < same.total:
                yield f"{stage.name}: {same.total - same.equal} of {same.total} tensors differ, first {same.first}"
