"""The ladder as a picture: what a type keeps against what it weighs, without and with the importance matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.evaluation.report_plots import CHANCE, COLOURS, INK, bare, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {  # by `matrix` of a row: colour, legend
    False: (COLOURS[3], "without importance matrix"),
    True: (COLOURS[1], "with importance matrix"),
    None: (INK, "uses no matrix"),
}
Bounds = tuple[float, float, float]  # value, low, high


def plot_ladder(ladder: dict[str, Any], path: Path) -> None:
    """Write the picture: KL divergence and accuracy over the file's size, each with its 95 % interval."""
    figure = new_figure(10.4, 4.6)
    left, right = figure.subplots(1, 2)
    _divergence(left, ladder)
    _accuracy(right, ladder)
    handles = dict(zip(*left.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK
    )
    figure.savefig(path, dpi=150)


def _divergence(axis: Axes, ladder: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    rows = ladder["rows"][1:]
    far = [row["divergence"] for row in rows]
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_locator(NullLocator())
    _draw(axis, rows, [(entry["kld"], entry["kld_low"], entry["kld_high"]) for entry in far])
    tokens, reference = ladder["text"]["tokens"], ladder["reference"].upper()
    _head(axis, f"KL divergence from {reference}, nats a token", f"{tokens:,} held-out tokens; lower is better")


def _accuracy(axis: Axes, ladder: dict[str, Any]) -> None:
    first, *rows = ladder["rows"]
    axis.axhline(0, color=CHANCE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    keys = ("value", "low", "high")
    _draw(axis, rows, [tuple(100 * row["difference"][key] for key in keys) for row in rows])
    reference, right = ladder["reference"].upper(), first["accuracy"]
    _head(
        axis,
        f"accuracy against {reference}, percentage points",
        f"{right['n']:,} held-out questions, {ladder['prompt']}; dashed: {reference}, {100 * right['value']:.1f} %",
    )


def _draw(axis: Axes, rows: Sequence[dict[str, Any]], values: Sequence[Bounds]) -> None:
    """One point a row at its file's size; the two of a type stand beside each other, with its name above them."""
    largest = max((row["bytes"] for row in rows), default=1)
    unit, name = (1e9, "GB") if largest >= 1e9 else (1e6, "MB")
    shift = 0.006 * largest / unit
    tops: dict[str, tuple[float, float]] = {}
    for row, (value, low, high) in zip(rows, values, strict=True):
        colour, label = STYLES[row["matrix"]]
        place = row["bytes"] / unit + {False: -shift, True: shift, None: 0}[row["matrix"]]
        axis.plot([place, place], [low, high], color=colour, linewidth=2, solid_capstyle="round")
        axis.plot(place, value, "o", color=colour, markersize=6.5, markeredgecolor="white", label=label)
        tops[row["type"]] = (row["bytes"] / unit, max(high, tops.get(row["type"], (0, high))[1]))
    for kind, top in tops.items():
        axis.annotate(
            kind.upper(), top, xytext=(0, 6), textcoords="offset points", ha="center", va="bottom", rotation=90,
            fontsize=7.5, color=INK,
        )  # fmt: skip
    axis.margins(x=0.08, y=0.2)
    axis.set_xlabel(f"size of the file, {name}", fontsize=8.5, color=INK)


def _head(axis: Axes, title: str, detail: str) -> None:
    axis.set_title(f"{title}\n{detail}", fontsize=9, color=INK, loc="left")
    bare(axis, "both")
