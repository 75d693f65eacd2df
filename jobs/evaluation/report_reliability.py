"""The reliability picture: how often answers of like confidence are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.evaluation.report_plots import CHANCE, COLOURS, INK, bare, label, new_figure, title_of
from qa.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 4  # panels beside each other


def plot_reliability(metrics: dict[str, Any], path: Path) -> None:
    """Write the picture: a panel for each model, task and letter formulation; accuracy over confidence, 0 to 1."""
    models = [name for name in metrics["order"] if name in metrics["calibration"]]
    kinds = dict.fromkeys(
        (line["task"], line["formulation"]) for name in models for line in metrics["calibration"][name]
    )
    panels = [
        (name, line)
        for kind in kinds
        for name in models
        for line in metrics["calibration"][name]
        if (line["task"], line["formulation"]) == kind
    ]
    across = min(ACROSS, len(models) if len(models) > 1 else len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(0.6 + 2.7 * across, 0.5 + 3.1 * down)
    axes = figure.subplots(down, across, squeeze=False).flat
    for axis, (name, line) in zip(axes, panels, strict=False):
        _draw(axis, name, line, COLOURS[metrics["order"].index(name) % len(COLOURS)])
    for axis in list(axes)[len(panels) :]:
        axis.set_visible(False)
    figure.supxlabel("confidence: the chosen option's probability among the options", fontsize=8.5, color=INK)
    figure.supylabel("answered rightly, with 95 % interval", fontsize=8.5, color=INK)
    figure.savefig(path, dpi=150)


def _draw(axis: Axes, model: str, line: dict[str, Any], colour: str) -> None:
    axis.plot([0, 1], [0, 1], color=CHANCE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    for each in line["bins"]:
        bounds = wilson(round(each["accuracy"] * each["n"]), each["n"])
        axis.plot([each["confidence"]] * 2, bounds, color=colour, linewidth=1, alpha=0.45)
    confidence, accuracy = ([each[key] for each in line["bins"]] for key in ("confidence", "accuracy"))
    looks = {"linewidth": 1.2, "markersize": 4.5, "markeredgecolor": "white", "clip_on": False}
    axis.plot(confidence, accuracy, "o-", color=colour, **looks)
    ece = f"ECE {line['ece']:.3f} ({line['ece_low']:.3f} to {line['ece_high']:.3f})"
    axis.set_title(
        f"{label(model, 22)}\n{title_of(line['task'])}\n{line['formulation']}\n{ece}",
        fontsize=8.5,
        color=INK,
        loc="left",
    )
    axis.text(0.98, 0.03, _sizes(line["bins"]), ha="right", fontsize=7.5, color=INK, transform=axis.transAxes)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axis.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    bare(axis, "both")


def _sizes(bins: list[dict[str, Any]]) -> str:
    sizes = sorted({each["n"] for each in bins})
    return f"{len(bins)} bins of {'–'.join(map(str, sizes))}"
