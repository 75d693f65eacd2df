"""The README's numbers come from a run's figures, and what it names exists."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def results_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("readme_results", ROOT / "scripts" / "readme_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_the_recorded_runs() -> None:
    script = results_script()
    figures = json.loads((ROOT / "docs" / "tiny-run.json").read_text(encoding="utf-8"))
    assert script.render(figures) in README
    assert script.insert(README, script.render(figures)) == README


def test_the_recorded_accuracies_are_what_was_counted() -> None:
    figures = json.loads((ROOT / "docs" / "tiny-run.json").read_text(encoding="utf-8"))
    entries = [entry for model in figures["metrics"]["models"].values() for entry in model["results"]]
    assert len(entries) >= 4 * 6
    for entry in entries:
        assert entry["value"] == entry["correct"] / entry["n"]
        assert entry["low"] <= entry["value"] <= entry["high"]


def test_every_folder_and_step_that_it_names_exists() -> None:
    tree = README.split("## The house")[1].split("```")[1]
    for name in re.findall(r"^ {0,2}([\w.]+/?)  ", tree, re.MULTILINE):
        assert (ROOT / name).exists() or (ROOT / "jobs" / name).exists(), name
    steps = " · ".join(re.findall(r"^  (\w+(?: · \w+)+)$", tree, re.MULTILINE)).split(" · ")
    assert {"collect", "export_adapter", "pipeline"} <= set(steps)
    for step in steps:
        assert (ROOT / "jobs" / f"{step}.py").is_file(), step


def test_every_make_target_that_it_names_exists() -> None:
    rules = re.findall(r"^([\w ]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = " ".join(rules).split()
    assert set(re.findall(r"`?make (\w+)`?", README)) <= {*targets, "demo"}
