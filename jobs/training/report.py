"""What is told of a training run when it has ended: `report.md` with its two pictures, for a person to read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from jobs.card_render import cell, command
from jobs.config import Train
from jobs.evaluation.report_plots import CHANCE, COLOURS, INK, bare, new_figure
from jobs.evaluation.result_table import flatten
from jobs.provenance import command_line, git_commit, hardware, versions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORT, PICTURES = "report.md", ("loss.png", "course.png")
TEMPLATES = Path(__file__).parent / "templates"
PRIVATE = ("checkpoints_to", "trackio_space", "report_to")  # where the run was kept and shown says nothing of it
TRAINING, VALIDATION, MARK = COLOURS[0], COLOURS[1], COLOURS[3]
APART = {"wspace": 0.06, "hspace": 0.06}
IN_POINTS = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
GIB = 2**30
COURSE = (
    ("learning_rate", "learning rate"),
    ("grad_norm", "gradient norm"),
    ("tokens_per_second", "tokens a second"),
    ("memory", "peak memory, GiB"),
)

History = list[dict[str, Any]]


def write_report(folder: Path, history: History, figures: dict[str, Any], *, base: str, settings: Train) -> None:
    """Write the report of a run into its folder; `figures` are those of its step."""
    plot_losses(history, figures["best"], folder / PICTURES[0])
    plot_course(history, folder / PICTURES[1])
    text = render(history, figures, base=base, settings=settings)
    (folder / REPORT).write_text(text, encoding="utf-8")


def learnt(history: History, best: dict[str, Any]) -> bool:
    """Whether the kept epoch's validation loss is below the one before training."""
    return best["loss"] < _before(history)["eval_loss"]


def verdict(history: History, best: dict[str, Any]) -> str:
    """One sentence on the validation loss before training and at the kept epoch."""
    before, epoch = _before(history)["eval_loss"], f"epoch {best['epoch']:.4g}"
    if learnt(history, best):
        return f"The validation loss fell from {before:.3f} before training to {best['loss']:.3f} after {epoch}, kept."
    return f"It did not learn: the validation loss was {before:.3f} before training and is {best['loss']:.3f} at best."


def render(history: History, figures: dict[str, Any], *, base: str, settings: Train) -> str:
    """The page as Markdown."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - Markdown, not HTML: `cell` escapes what others wrote
    )
    environment.filters |= {"cell": cell, "percent": lambda share: f"{100 * share:.1f} %"}
    best = figures["best"]
    text = environment.get_template("report.md.j2").render(
        verdict=verdict(history, best),
        learnt=learnt(history, best),
        best=best,
        asked=_asked(history),
        right=_right(history, best["step"]),
        epochs=list(_epochs(history)),
        course=list(_course(history, figures)),
        settings=list(flatten(settings.model_dump(mode="json", exclude=set(PRIVATE)))),
        machine=list(_machine(base)),
        command=command(command_line()),
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _evaluations(history: History) -> History:
    return [entry for entry in history if "eval_loss" in entry]


def _answered(history: History) -> History:
    """The evaluations in which questions were asked: not all of them, where a run went on with another number."""
    return [entry for entry in _evaluations(history) if "eval_accuracy" in entry]


def _asked(history: History) -> str:
    """How many questions an evaluation has asked: "100", or "40 to 100"; empty where none has."""
    counts = sorted({entry["eval_accuracy_questions"] for entry in _answered(history)})
    return " to ".join(dict.fromkeys(map(str, [counts[0], counts[-1]]))) if counts else ""


def _before(history: History) -> dict[str, Any]:
    return _evaluations(history)[0]


def _logs(history: History) -> History:
    return [entry for entry in history if "loss" in entry]


def _accuracy(entry: dict[str, Any]) -> dict[str, float]:
    names = {"accuracy": "eval_accuracy", "low": "eval_accuracy_low", "high": "eval_accuracy_high"}
    return {name: entry[key] for name, key in names.items() if key in entry}


def _right(history: History, kept: int) -> str:
    """The share right before training and after the step that is kept; of either, none may have been asked."""
    shares = {entry["step"]: _accuracy(entry) for entry in _answered(history)}
    parts = [f"{100 * shares[0]['accuracy']:.1f} % were right before training"] if 0 in shares else []
    if found := shares.get(kept):
        share, low, high = (f"{100 * found[name]:.1f} %" for name in ("accuracy", "low", "high"))
        parts.append(f"{share} (95 % interval {low} to {high}){'' if parts else ' were right'} at the kept epoch")
    return " and ".join(parts) or "none was asked before training or at the kept epoch"


def _epochs(history: History) -> Iterator[dict[str, Any]]:
    """A row for each evaluation, the first before training."""
    since = -1
    for entry in _evaluations(history):
        losses = [log for log in _weighted(_logs(history)) if since < log[0] <= entry["step"]]
        row = {"epoch": entry["epoch"], "step": entry["step"], "validation": entry["eval_loss"], **_accuracy(entry)}
        yield row | {"training": _mean(losses) if losses else None}
        since = entry["step"]


def _course(history: History, figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    logs = _logs(history)
    last, speeds = logs[-1], [entry["tokens_per_second"] for entry in logs]
    resumed = [str(entry["resumed_after_step"]) for entry in logs if "resumed_after_step" in entry]
    yield "training rows", f"{figures['rows']:,}"
    yield "validation rows", f"{figures['validation_rows']:,}"
    yield "rows left out, longer than `dataset.max_length`", f"{figures['rows_too_long']:,}"
    yield "answer tokens of an epoch", f"{figures['answer_tokens']:,}"
    yield "trainable parameters", f"{figures['trainable_parameters']:,}"
    yield "optimiser steps", f"{figures['steps']:,}"
    yield "tokens seen, prompts and answers", f"{last['tokens']:,}"
    yield "tokens a second, median of the steps between two logs", f"{median(speeds):,.0f}"
    yield "time in optimiser steps", _duration(last["seconds"])
    yield "time in evaluations", _duration(sum(entry["eval_runtime"] for entry in _evaluations(history)))
    yield "gone on from a checkpoint", f"after step {', '.join(resumed)}" if resumed else "never"


def _machine(base: str) -> Iterator[tuple[str, str]]:
    found, made = hardware(), versions()
    yield "base", Path(base).name if Path(base).is_dir() else base
    yield "processor", f"{found['machine']}, {found['cores']} cores, {found['memory_bytes'] / GIB:.0f} GiB"
    if found.get("gpus"):
        yield "GPUs", ", ".join(found["gpus"])
    yield "versions", ", ".join(f"{name} {version}" for name, version in made.items())
    if commit := git_commit():
        yield "commit", commit


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def plot_losses(history: History, best: dict[str, Any], path: Path) -> None:
    """Losses over optimiser steps, and beside them the accuracy with its interval where questions were asked."""
    asked = _asked(history)
    figure = new_figure(9.0 if asked else 6.4, 3.3)
    figure.get_layout_engine().set(**APART)
    axes = figure.subplots(1, 2 if asked else 1, squeeze=False, width_ratios=[1.5, 1] if asked else [1])[0]
    _draw_losses(axes[0], history, best)
    if asked:
        _draw_accuracy(axes[1], _answered(history), asked)
    figure.savefig(path, dpi=150)


def _draw_losses(axis: Axes, history: History, best: dict[str, Any]) -> None:
    evaluations = _evaluations(history)
    axis.plot(*_stretches(_logs(history)), color=TRAINING, linewidth=1.3, label="training")
    style = {"color": VALIDATION, "linewidth": 1.8, "markersize": 5.5, "markeredgecolor": "white"}
    axis.plot(*_points(evaluations, "eval_loss"), "o-", label="validation", **style)
    kept = {"s": 90, "facecolors": "none", "edgecolors": MARK, "linewidths": 1.6}
    axis.scatter([best["step"]], [best["loss"]], label="kept", zorder=5, **kept)
    axis.set_ylim(bottom=0)
    _finish(axis, "loss on answers, nats a token")
    axis.legend(frameon=False, fontsize=8, labelcolor=INK)


def _draw_accuracy(axis: Axes, evaluations: History, asked: str) -> None:
    for entry in evaluations:
        interval = [entry["eval_accuracy_low"], entry["eval_accuracy_high"]]
        axis.plot([entry["step"]] * 2, interval, color=VALIDATION, linewidth=2.2, alpha=0.45, solid_capstyle="round")
    style = {"color": VALIDATION, "linewidth": 1.2, "markersize": 6.5, "markeredgecolor": "white"}
    axis.plot(*_points(evaluations, "eval_accuracy"), "o-", **style)
    chance = evaluations[0]["eval_accuracy_chance"]
    axis.axhline(chance, color=CHANCE, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    _finish(axis, f"accuracy, {asked} questions, 95 % interval")
    axis.annotate("chance", (0.5, chance), (0, -10), fontsize=8, color=INK, ha="center", **IN_POINTS)


def plot_course(history: History, path: Path) -> None:
    """Learning rate, gradient norm, speed and memory over optimiser steps."""
    figure = new_figure(9.0, 4.6)
    figure.get_layout_engine().set(**APART)
    logs = [entry | {"memory": entry.get("peak_gpu_gib", entry.get("peak_memory_gib"))} for entry in _logs(history)]
    axes = figure.subplots(2, 2, sharex=True)
    for axis, (name, label) in zip(axes.flat, COURSE, strict=True):
        steps, values = _points(logs, name)
        axis.plot(steps, values, color=VALIDATION, linewidth=1.4)
        axis.set_ylim(0, 1.08 * max(values) or 1)
        _finish(axis, label)
    for axis in axes[0]:
        axis.set_xlabel("")
    figure.savefig(path, dpi=150)


def _points(entries: History, name: str) -> tuple[list[int], list[float]]:
    found = [entry for entry in entries if name in entry]
    return [entry["step"] for entry in found], [entry[name] for entry in found]


def _weighted(logs: History) -> list[tuple[int, float, int]]:
    """Step, mean loss since the log before, and of how many steps it is the mean."""
    before = [0, *(entry["step"] for entry in logs)]
    return [(entry["step"], entry["loss"], entry["step"] - since) for entry, since in zip(logs, before, strict=False)]


def _mean(losses: Sequence[tuple[int, float, int]]) -> float:
    return fmean([loss for _, loss, _ in losses], [steps for _, _, steps in losses])


def _stretches(logs: History) -> tuple[list[int], list[float]]:
    """Loss over stretches as long as the longest between two logs: one that a checkpoint cuts short is noise."""
    losses = _weighted(logs)
    width = max(steps for _, _, steps in losses)
    groups = [list(group) for _, group in groupby(losses, key=lambda loss: (loss[0] - 1) // width)]
    return [group[-1][0] for group in groups], [_mean(group) for group in groups]


def _finish(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=9, color=INK, loc="left")
    axis.set_xlabel("optimiser step", fontsize=8, color=INK)
    axis.margins(x=0.03)
    bare(axis, "y")
