"""The picture of an evaluation: accuracy with its interval, by task and prompt, one line for each model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID, CHANCE = "#1f2933", "#d9dee4", "#8a94a0"
COLOURS = ("#6b7785", "#2a6fbb", "#1b8a6b", "#c2571a", "#7a4fa3", "#a8323e")
TITLES = {"research": "AI research, held out", "arc_challenge": "ARC-Challenge", "arc_easy": "ARC-Easy"}


def plot_accuracy(metrics: dict[str, Any], chance: dict[str, float], path: Path) -> None:
    """Write the picture: tasks from top to bottom, prompts from left to right, the share right from 0 to 1."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(metrics)
    tasks = list(dict.fromkeys(task for task, _, _ in panels))
    prompts = list(dict.fromkeys((formulation, metric) for _, formulation, metric in panels))
    models = list(metrics["models"])
    height = 0.9 + len(tasks) * (0.75 + 0.3 * len(models))
    figure = Figure(figsize=(1.6 + 4.2 * len(prompts), height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(tasks), len(prompts), squeeze=False, sharex=True)
    for row, task in enumerate(tasks):
        for column, (formulation, metric) in enumerate(prompts):
            _draw(axes[row][column], panels.get((task, formulation, metric), {}), models, chance[task])
            count = next((line["n"] for line in panels.get((task, formulation, metric), {}).values()), 0)
            axes[row][column].set_title(
                f"{TITLES.get(task, task)} · {formulation}, {metric} · n = {count:,}", fontsize=9, color=INK, loc="left"
            )
    for axis in axes[-1]:
        axis.set_xlabel("answered rightly, with 95 % interval (dashed: chance)", fontsize=8, color=INK)
    figure.savefig(path, dpi=150)


def _panels(metrics: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, dict[str, Any]]]:
    """(task, formulation, metric) → model → result; of cloze only the normalised accuracy is drawn."""
    panels: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for model, figures in metrics["models"].items():
        for line in figures["results"]:
            if not (line["formulation"].startswith("cloze") and line["metric"] == "acc"):
                panels.setdefault((line["task"], line["formulation"], line["metric"]), {})[model] = line
    return panels


def _draw(axis: Axes, lines: dict[str, dict[str, Any]], models: list[str], chance: float) -> None:
    for place, model in enumerate(models):
        colour = COLOURS[place % len(COLOURS)]
        if (line := lines.get(model)) is None:
            continue
        axis.plot([line["low"], line["high"]], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
        axis.plot(line["value"], place, "o", color=colour, markersize=6.5, markeredgecolor="white")
        axis.annotate(
            f"{line['value']:.1%}".replace("%", " %"),
            (line["value"], place),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axis.axvline(chance, color=CHANCE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.set(xlim=(0, 1), ylim=(len(models) - 0.4, -0.75))
    axis.set_yticks(range(len(models)), models, fontsize=8.5, color=INK)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axis.tick_params(axis="x", labelsize=8, colors=INK, length=0)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    for side in axis.spines.values():
        side.set_visible(False)
