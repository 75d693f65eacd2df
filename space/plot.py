"""The plot that grows: running accuracy of both models with 95 % intervals, as inline SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 100.0, 100.0  # stretched to the page's width; lines keep theirs (non-scaling-stroke)
TICKS = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class Point:
    """Accuracy after so many questions, with its interval, as shares from 0 to 1."""

    value: float
    low: float
    high: float


def running_plot(base: Sequence[Point], tuned: Sequence[Point], total: int, chance: float) -> str:
    """HTML of the plot; the numbers behind it stand in its text alternative."""
    grid = "".join(f'<line class="fn-grid" x1="0" x2="{WIDTH}" y1="{_y(t / 100)}" y2="{_y(t / 100)}"/>' for t in TICKS)
    chance_line = f'<line class="fn-chance" x1="0" x2="{WIDTH}" y1="{_y(chance)}" y2="{_y(chance)}"/>'
    series = _series(base, total, "fn-base") + _series(tuned, total, "fn-tuned")
    labels = "".join(f'<span style="top:{_y(t / 100)}%">{t}{" %" if t == 100 else ""}</span>' for t in TICKS)
    ends = sorted({1, (total + 1) // 2, total})
    below = "".join(f'<span style="left:{_x(n, total):.1f}%">{n}</span>' for n in ends)
    return (
        f'<figure class="fn-plot" role="img" aria-label="{_words(base, tuned)}">'
        f'<div class="fn-y" aria-hidden="true">{labels}</div>'
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" aria-hidden="true">'
        f"{grid}{chance_line}{series}</svg>"
        f'<div class="fn-x" aria-hidden="true">{below}</div>'
        '<figcaption><span class="fn-key fn-base">Base</span><span class="fn-key fn-tuned">Fine-tuned</span>'
        '<span class="fn-key fn-chance">Chance</span><span>running accuracy by question, 95 % intervals</span>'
        "</figcaption></figure>"
    )


def _series(points: Sequence[Point], total: int, name: str) -> str:
    if not points:
        return ""
    upper = [f"{_x(n, total):.2f},{_y(point.high)}" for n, point in enumerate(points, start=1)]
    lower = [f"{_x(n, total):.2f},{_y(point.low)}" for n, point in enumerate(points, start=1)]
    line = [f"{_x(n, total):.2f},{_y(point.value)}" for n, point in enumerate(points, start=1)]
    if len(points) == 1:  # a line needs two ends to be seen
        line.append(f"{_x(1, total) + 1:.2f},{_y(points[0].value)}")
    band = f'<polygon points="{" ".join(upper + lower[::-1])}"/>'
    return f'<g class="{name}">{band}<polyline points="{" ".join(line)}"/></g>'


def _x(number: int, total: int) -> float:
    return 1 + (WIDTH - 2) * (number - 1) / max(total - 1, 1)


def _y(share: float) -> float:
    return round(HEIGHT - 2 - (HEIGHT - 4) * share, 2)


def _words(base: Sequence[Point], tuned: Sequence[Point]) -> str:
    if not base or not tuned:
        return "Running accuracy; no question is answered yet"
    return f"Accuracy after {len(base)} questions: base {base[-1].value:.0%}, fine-tuned {tuned[-1].value:.0%}"
