"""What the pictures of an evaluation share, and the first of them: accuracy with its interval, by task and prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, CHANCE = "#1f2933", "#d9dee4", "#8a94a0"
COLOURS = ("#6b7785", "#2a6fbb", "#1b8a6b", "#c2571a", "#7a4fa3", "#a8323e")
TITLES = {"research": "AI research, held out", "arc_challenge": "ARC-Challenge", "arc_easy": "ARC-Easy"}
ACROSS = 3  # panels beside each other

Panel = tuple[str, str, str]  # task, formulation, metric


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure, in inches, that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def label(text: str, longest: int = 34) -> str:
    """A name as it stands in a picture: cut in its middle where it is long, and never read as a formula."""
    half = (longest - 1) // 2
    short = text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"
    return short.replace("$", r"\$")


def title_of(task: str) -> str:
    """A task's name in a picture."""
    return label(TITLES.get(task, task))


def bare(axis: Axes, grid: str) -> None:
    """Take the frame off, and lay the grid behind."""
    axis.grid(axis=grid, color=GRID, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.tick_params(length=0, labelsize=8, colors=INK)
    for side in axis.spines.values():
        side.set_visible(False)


def plot_accuracy(metrics: dict[str, Any], chance: dict[str, float], path: Path) -> None:
    """Write the picture: tasks from top to bottom, prompts from left to right, the share right from 0 to 1."""
    panels, models = _panels(metrics), metrics["order"]
    rows = _rows(list(panels))
    across = max(len(row) for row in rows)
    figure = new_figure(1.6 + 3.6 * across, 0.5 + len(rows) * (1.0 + 0.34 * len(models)))
    figure.get_layout_engine().set(wspace=0.06)
    axes = figure.subplots(len(rows), across, squeeze=False, sharey=True)
    for line, row in zip(axes, rows, strict=True):
        for axis, panel in zip(line, row, strict=False):  # a task's last line may be shorter
            _draw(axis, panels[panel], models, chance[panel[0]])
            _head(axis, panel, panels[panel])
        for axis in line[len(row) :]:
            axis.set_visible(False)
    figure.supxlabel("answered rightly, with 95 % interval (dashed: chance)", fontsize=8.5, color=INK)
    figure.savefig(path, dpi=150)


def _rows(panels: list[Panel]) -> list[list[Panel]]:
    """Each task's panels beside each other, on a second line where there are many."""
    tasks: dict[str, list[Panel]] = {}
    for panel in panels:
        tasks.setdefault(panel[0], []).append(panel)
    return [row[start : start + ACROSS] for row in tasks.values() for start in range(0, len(row), ACROSS)]


def _panels(metrics: dict[str, Any]) -> dict[Panel, dict[str, dict[str, Any]]]:
    """Model → result of each panel; of cloze only the normalised accuracy is drawn."""
    panels: dict[Panel, dict[str, dict[str, Any]]] = {}
    for model, figures in metrics["models"].items():
        for line in figures["results"]:
            if not (line["formulation"].startswith("cloze") and line["metric"] == "acc"):
                panels.setdefault((line["task"], line["formulation"], line["metric"]), {})[model] = line
    return panels


def _head(axis: Axes, panel: Panel, lines: dict[str, dict[str, Any]]) -> None:
    task, formulation, metric = panel
    count = " / ".join(dict.fromkeys(f"{line['n']:,}" for line in lines.values()))
    axis.set_title(f"{title_of(task)}\n{formulation}, {metric}, n = {count}", fontsize=9, color=INK, loc="left")


def _draw(axis: Axes, lines: dict[str, dict[str, Any]], models: list[str], chance: float) -> None:
    for place, model in enumerate(models):
        if line := lines.get(model):
            _interval(axis, line, place, COLOURS[place % len(COLOURS)])
    axis.axvline(chance, color=CHANCE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.set(xlim=(0, 1), ylim=(len(models) - 0.4, -0.75))
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    bare(axis, "x")
    axis.set_yticks(range(len(models)), [label(model, 18) for model in models], fontsize=8.5, color=INK)


def _interval(axis: Axes, line: dict[str, Any], place: int, colour: str) -> None:
    axis.plot([line["low"], line["high"]], [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
    axis.plot(line["value"], place, "o", color=colour, markersize=6.5, markeredgecolor="white")
    axis.annotate(
        f"{100 * line['value']:.1f} %",
        (min(max(line["value"], 0.06), 0.94), place),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )
