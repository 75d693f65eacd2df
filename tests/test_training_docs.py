"""docs/training.md is held to the code: its table of settings, its options, its curves."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs.config import Train
from jobs.training.watch import LAST, show_command
from qa.statistics import wilson

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def defaults() -> dict[str, Any]:
    settings = Train().model_dump(mode="json")
    lora = settings.pop("lora")
    return settings | {f"lora.{name}": value for name, value in lora.items()}


def shown(value: Any) -> str:
    """A default as the configuration's YAML has it; an empty one as a dash."""
    if isinstance(value, list):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return {None: "null", "": "–"}.get(value, str(value))


def test_every_setting_stands_there_once_with_its_default() -> None:
    for name, value in defaults().items():
        value = int(value) if isinstance(value, float) and value.is_integer() and value else value
        assert f"| `{name}` | {shown(value)} | " in TEXT
    table = TEXT.partition("## Settings")[2].partition("## Watch it")[0]
    assert re.findall(r"^\| `([\w.]+)` \|", table, re.M) == list(defaults())


def test_its_options_are_the_commands() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "jobs.train", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    offered = set(re.findall(r"--[a-z-]+", said)) - {"--help"}
    named = set(re.findall(r"^\| `(--[a-z-]+)", TEXT, re.M))
    assert named == offered


def test_the_interval_that_it_names_is_wilsons() -> None:
    low, high = wilson(50, 100)
    assert f"{50 * (high - low):.1f} points to each side of one half" in TEXT


def test_the_files_and_commands_that_it_names_are_there() -> None:
    assert show_command(Path("runs/mine/adapter")) in TEXT
    assert f"checkpoints/{LAST}" in TEXT
    for name in re.findall(r"jobs/configs/[\w./-]+\.yaml", TEXT):
        assert (ROOT / name).is_file(), name
