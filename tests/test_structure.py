"""The rules of the house: imports run app → space → qa ← jobs, heavy packages stay in their rooms, files stay small."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
STEPS = set(
    "collect write_questions build_index pretrain build_dataset train merge export export_adapter ladder "
    "answer_examples evaluate build_wheel publish".split()
)
ROOMS = ("qa", "jobs", "space", "local_hub", "data_cards")
FORBIDDEN = {
    "qa": {"jobs", "space", "local_hub", "torch", "transformers", "datasets", "gradio"},
    "space": {"jobs", "local_hub", "torch", "transformers", "datasets"},
    "jobs": {"space", "local_hub", "gradio"},
    "local_hub": {"jobs", "space", "qa", "torch", "huggingface_hub"},
    "data_cards": {"jobs", "space", "local_hub", "torch", "gradio"},
}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    metrics = ROOT / "qa" / "metrics"  # modules of the `evaluate` library, which is built on datasets
    for path in (ROOT / room).rglob("*.py"):
        if metrics in path.parents:
            continue
        heads = {name.split(".")[0] for name in imported(path)}
        assert not heads & FORBIDDEN[room], f"{path.relative_to(ROOT)} imports {heads & FORBIDDEN[room]}"


def test_no_step_imports_another_step() -> None:
    for step in STEPS:
        others = {f"jobs.{other}" for other in STEPS - {step}}
        assert not imported(ROOT / "jobs" / f"{step}.py") & others, step


def test_steps_are_called_by_the_pipeline_alone() -> None:
    allowed = {"pipeline_steps.py", "preflight.py"}  # preflight looks with the steps' own eyes
    steps = {f"jobs.{step}" for step in STEPS}
    for path in (ROOT / "jobs").rglob("*.py"):
        if path.name not in allowed:
            assert not imported(path) & steps, path.name


def test_the_app_only_builds_and_launches() -> None:
    assert {name.split(".")[0] for name in imported(ROOT / "app.py")} <= {"__future__", "os", "sys", "space"}


@pytest.mark.parametrize("step", sorted(STEPS | {"pipeline"}))
def test_help_is_there_without_loading_torch(step: str) -> None:
    code = (
        f"import sys, runpy; sys.argv = ['jobs.{step}', '--help']\n"
        f"try: runpy.run_module('jobs.{step}', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'datasets' not in sys.modules, 'help loads torch or datasets'"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert f"python -m jobs.{step}" in shown.stdout


def test_no_python_file_outgrows_its_room() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for room in (*ROOMS, "scripts")
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 260
    }
    assert not long


def test_direct_dependencies_are_pinned_and_agree_with_the_constraints() -> None:
    pinned = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    wanted = re.findall(r'^ {4}"([\w.-]+==[\w.]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    wanted += [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    assert len(wanted) > 25
    for requirement in wanted:
        name, version = requirement.lower().replace("_", "-").split("==")
        assert pinned.get(name) == version, requirement


def test_the_space_asks_for_the_gradio_that_is_installed() -> None:
    header = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    required = re.search(r"^gradio==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert required is not None
    assert yaml.safe_load(header)["sdk_version"] == required[1]
    assert yaml.safe_load(header)["app_file"] == "app.py"
