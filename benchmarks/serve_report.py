"""The tables of the serving benchmark, in Markdown, with its goals and whether they are met."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.paired import Usage
from benchmarks.serve_interruption import Waits
from benchmarks.serve_one_stream import Speeds
from benchmarks.serve_visitors import Crowd
from benchmarks.serve_whole_page import Start
from qa.repack_probe import Choice

ONE_STREAM = 0.95  # ours over llama-bench, at least
BATCHING = 1.3  # four at once over turns, tokens a second of four visitors, at least
MEMORY = 4.5e9  # bytes, at most
FIRST_ANSWER = 3.0  # seconds, at most
IDLE = 0.05  # of a core, at most
CANCEL = 10.0  # milliseconds, at most
SCORING = 4.0  # seconds a question on the 3B, at most
SHARE = 0.95

OURS, TURNS, THEIRS = "ours, 4 at once", "ours, by turns", ("llama-server, 4 slots", "llama-server, 1 slot")
Rounds = Sequence[Mapping[str, Sequence[Crowd]]]


def answer(found: Choice) -> str:
    """What the probe at start-up chose, and why."""
    sides = {"not repacked": found.plain, "repacked": found.repacked}
    told = "; ".join(f"{name} {it.prompt:.1f} and {it.generation:.1f}" for name, it in sides.items() if it)
    chosen = "repacked" if found.repack else "not repacked"
    return f"probe: {told or 'not needed'} (prompt and generation, tokens a second), {found.seconds:.1f} s: {chosen}"


def streams(found: Mapping[bool, Mapping[str, Sequence[Speeds]]]) -> str:
    """One visitor alone beside llama-bench: medians over the rounds."""
    lines = ["| one visitor, tokens a second | llama-bench | ours | ours / llama-bench |", "|---|---|---|---|"]
    for repack, sides in found.items():
        for name in sides["ours"][0]:
            theirs, ours = (median(speeds[name] for speeds in sides[side]) for side in ("llama-bench", "ours"))
            kind = "repacked" if repack else "not repacked"
            lines.append(f"| {name}, {kind} | {theirs:.1f} | {ours:.1f} | {_judged(ours / theirs, ONE_STREAM)} |")
    return "\n".join(lines)


def crowds(rounds: Rounds) -> str:
    """Visitors at once: tokens a second in all, and the time to the first token; medians over the rounds."""
    sides = (OURS, TURNS, *THEIRS)
    lines = [f"| visitors | {' | '.join(sides)} | ours / the better of both |", "|---" * (len(sides) + 2) + "|"]
    for place, visitors in enumerate(each.visitors for each in rounds[0][OURS]):
        speeds = {side: median(found[side][place].per_second for found in rounds) for side in sides}
        ratio = speeds[OURS] / max(speeds[side] for side in THEIRS)
        waited = {side: [_first(rounds, side, place, share) for share in (0.5, SHARE)] for side in sides}
        shown = " | ".join(f"{speeds[side]:.1f} tok/s; {waited[side][0]:.2f} / {waited[side][1]:.2f}" for side in sides)
        lines.append(f"| {visitors} | {shown} | {_judged(ratio, 1.0)} |")
    lines.append("after each speed: seconds to the first token, median and 95th percentile")
    return "\n".join([*lines, _batching(rounds)])


def _batching(rounds: Rounds) -> str:
    """Whether to serve four at once is worth it, by the rule: 1.3 times the total, and no later first token."""
    four = next(place for place, found in enumerate(rounds[0][OURS]) if found.visitors == 4)
    gains = [found[OURS][four].per_second / found[TURNS][four].per_second for found in rounds]
    once, turns = (_first(rounds, side, 0, 0.5) for side in (OURS, TURNS))
    return (
        f"four at once over turns, four visitors: {_judged(median(gains), BATCHING)} ({min(gains):.2f} to "
        f"{max(gains):.2f}); first token of one visitor: {once:.2f} s against {turns:.2f} s ({once / turns:.2f} times)"
    )


def _first(rounds: Rounds, side: str, place: int, share: float) -> float:
    """Seconds to the first token that this share of all questions of all rounds waited at most (nearest rank)."""
    firsts = sorted(first for found in rounds for first in found[side][place].firsts)
    return firsts[math.ceil(share * len(firsts)) - 1]


def stops(found: Waits) -> str:
    """How soon a stopped prompt frees the engine, and what a scored question takes."""
    middle, kept, count = median(found.stops), median(found.kept), len(found.stops)
    return (
        f"from stop to a free engine, in the middle of a prompt, {count} times: median {middle:.1f} ms, largest "
        f"{max(found.stops):.1f} ms; {CANCEL:.0f} ms is the goal: {_met(middle <= CANCEL)}\n"
        f"one multiple-choice question: {kept:.2f} s with its prefix kept, {median(found.anew):.2f} s without; "
        f"{SCORING:.0f} s is the goal: {_met(kept <= SCORING)}"
    )


def memory(used: Usage) -> str:
    """Peak memory with both models at work."""
    peak, goal = used.peak_bytes / 1e9, MEMORY / 1e9
    return f"both models, four visitors each: peak {peak:.2f} GB; at most {goal} is the goal: {_met(peak <= goal)}"


def page(start: Start) -> str:
    """The page, while its models come and after."""
    return (
        f"\npython app.py: first answer after {start.first_answer:.2f} s ({_met(start.first_answer <= FIRST_ANSWER)}), "
        f"the page after {start.page:.2f} s, both models after {start.models:.1f} s; importing it takes "
        f"{start.imported:.2f} s\nwith both models and nobody there: {start.resident / 1e9:.2f} GB, "
        f"{start.idle:.1%} of a core ({_met(start.idle <= IDLE)})"
    )


def _judged(ratio: float, goal: float) -> str:
    return f"{ratio:.2f} ({_met(ratio >= goal)}: {goal:.2f})"


def _met(met: bool) -> str:
    return "met" if met else "MISSED"
