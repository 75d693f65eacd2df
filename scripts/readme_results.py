"""Write a run's results into the README: `python scripts/readme_results.py runs/tiny`. Standard library only.

The figures of the run are kept in docs/tiny-run.json; the README's table between its two marks is rendered from that
file, and a test renders it again. Nothing in it is typed by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "tiny-run.json"
README = ROOT / "README.md"
START, END = "<!-- results of the offline loop: start -->", "<!-- results of the offline loop: end -->"
MODELS = {"base": "base", "adapter": "adapter", "merged": "merged", "gguf": "Q4_K_M GGUF"}
STEPS = (
    "passages index questions base dataset adapter merged gguf base_gguf adapter_gguf ladder evaluation cards"
).split()


def collect(run: Path) -> dict[str, Any]:
    """The figures of a finished run that the README shows."""
    records = {step: json.loads((run / step / "step.json").read_text(encoding="utf-8")) for step in STEPS}
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    last = records["evaluation"]
    return {
        "metrics": {key: metrics[key] for key in ("headline", "models", "comparisons")},
        "seconds": {step: record["seconds"] for step, record in records.items()},
        "passages": records["passages"]["figures"]["passages"],
        "questions": records["questions"]["figures"]["questions"],
        "parameters": records["base"]["figures"]["parameters"],
        "git_commit": last["git_commit"],
        "started": last["started"],
        "cores": last["hardware"]["cores"],
        "versions": last["versions"],
    }


def render(figures: dict[str, Any]) -> str:
    """The Markdown between the marks."""
    results = figures["metrics"]["models"]
    head = ["questions", "asked as", "n", *MODELS.values()]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for entry in results["base"]["results"]:
        if entry["metric"] == "acc" and entry["formulation"].startswith("cloze"):
            continue  # without the length of an option counted in: the cards have it
        cells = [_cell(results[model]["results"], entry) for model in MODELS]
        asked = f"{entry['formulation']}, {entry['metric']}"
        lines.append(f"| {' | '.join([entry['task'], asked, str(entry['n']), *cells])} |")
    lines += ["", *_verdicts(figures["metrics"]), "", _provenance(figures)]
    return "\n".join(lines)


def _cell(results: list[dict[str, Any]], like: dict[str, Any]) -> str:
    keys = ("task", "formulation", "metric")
    entry = next(entry for entry in results if all(entry[key] == like[key] for key in keys))
    return f"{entry['value']:.1%} ({entry['low']:.1%} to {entry['high']:.1%})"


def _holm(entry: dict[str, Any]) -> str:
    """Holm's p where a difference is said to be shown and would not be among all of the run's comparisons."""
    shown = entry["verdict"].startswith(("better", "worse")) and entry["p_holm"] >= 0.05
    return f" (Holm's p = {entry['p_holm']:.3f})" if shown else ""


def _verdicts(metrics: dict[str, Any]) -> list[str]:
    headline = metrics["headline"]
    return [
        f"- {MODELS[entry['model']]} against base, {entry['task']}, {entry['formulation']}, {entry['metric']}: "
        f"**{entry['verdict']}**{_holm(entry)}"
        for entry in metrics["comparisons"]
        if all(entry[key] == headline[key] for key in headline) or entry["verdict"].startswith(("better", "worse"))
    ]


def _provenance(figures: dict[str, Any]) -> str:
    seconds = figures["seconds"]
    commit = (figures["git_commit"] or "?")[:10]
    return (
        f"One run on {figures['cores']} cores, {figures['started'][:10]}, commit {commit}: "
        f"{figures['passages']:,} passages, {figures['questions']:,} questions, "
        f"a base of {figures['parameters'] / 1e6:.1f} million weights trained from nothing in {seconds['base']:.0f} s, "
        f"the adapter in {seconds['adapter']:.0f} s, {sum(seconds.values()):.0f} s in all. "
        "In brackets: 95 % Wilson intervals. Listed are the headline and every other difference that was shown; "
        "p stands alone, Holm's p allows for all comparisons of the run."
    )


def insert(text: str, table: str) -> str:
    """The README with what stands between its marks replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table}\n{END}{after}"


def main() -> None:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "evaluation" / "step.json").is_file():
        sys.exit("usage: python scripts/readme_results.py runs/tiny   (a finished run)")
    figures = collect(Path(sys.argv[1]))
    FIGURES.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    README.write_text(insert(README.read_text(encoding="utf-8"), render(figures)), encoding="utf-8")


if __name__ == "__main__":
    main()
