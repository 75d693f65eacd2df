"""The picture of the paired comparisons: answers that one of two models has right, both, or neither."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.evaluation.report_plots import INK, bare, label, new_figure, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS = (  # key, legend, colour of the bar, colour of the number in it
    ("right_in_both", "right in both", "#b9c4d0", INK),
    ("gained", "gained: right only in the model", "#1b8a6b", "white"),
    ("lost", "lost: right only in the first", "#c2571a", "white"),
    ("wrong_in_both", "wrong in both", "#e8ecf0", INK),
)
NARROW = 0.035  # share of the width below which a number does not fit into its piece


def plot_flips(metrics: dict[str, Any], path: Path) -> None:
    """Write the picture: a bar for each model, task and formulation, in shares of the questions that both answered."""
    lines = metrics["comparisons"]
    tasks = dict.fromkeys((line["task"], line["formulation"]) for line in lines)
    sizes = [sum((line["task"], line["formulation"]) == key for line in lines) for key in tasks]
    figure = new_figure(9.5, 0.9 + sum(0.55 + 0.34 * size for size in sizes))
    axes = figure.subplots(len(tasks), 1, squeeze=False, height_ratios=[size + 0.4 for size in sizes])[:, 0]
    for axis, key in zip(axes, tasks, strict=True):
        _draw(axis, [line for line in lines if (line["task"], line["formulation"]) == key])
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper left", ncols=4, fontsize=8.5, frameon=False, labelcolor=INK)
    figure.savefig(path, dpi=150)


def _draw(axis: Axes, lines: list[dict[str, Any]]) -> None:
    for place, line in enumerate(lines):
        start = 0.0
        for key, legend, colour, ink in KINDS:
            share = line[key] / line["n"]
            axis.barh(place, share, 0.66, start, color=colour, label=legend if place == 0 else None)
            if share >= NARROW:
                axis.text(start + share / 2, place, f"{line[key]:,}", ha="center", va="center", fontsize=8, color=ink)
            start += share
        axis.text(1.012, place, _result(line), va="center", fontsize=8, color=INK)
    first = lines[0]
    counts = " / ".join(dict.fromkeys(f"{line['n']:,}" for line in lines))
    title = (
        f"{title_of(first['task'])}, {first['formulation']}, {first['metric']}, against {label(first['against'], 24)}"
    )
    axis.set_title(f"{title}, n = {counts}", fontsize=9, color=INK, loc="left")
    axis.set(xlim=(0, 1), ylim=(len(lines) - 0.5, -0.5))
    axis.set_xticks([])
    bare(axis, "x")
    axis.set_yticks(range(len(lines)), [label(line["model"], 18) for line in lines], fontsize=8.5, color=INK)


def _result(line: dict[str, Any]) -> str:
    """Beside the bar, where the numbers of narrow pieces stand too."""
    p = "p < 0.001" if line["p"] < 0.001 else f"p = {line['p']:.3f}"
    return f"+{line['gained']:,} −{line['lost']:,}   {p}"
