"""The headers by which Hugging Face Jobs run the steps: up to date, pinned, and read by the real client."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from huggingface_hub import JobHardware

from jobs.cards import space_header
from jobs.provenance import main_module
from jobs.step import read_step
from local_hub.testing import running_hub
from scripts.job_headers import APP, ENVIRONMENT, HEADER, JOBS, ROOT, header, third_party, with_header
from tests.runs import NAMESPACE, copy_run
from tests.test_structure import STEPS

TOKEN = "hf_" + "planted" * 5
Submitted = Callable[..., dict[str, list[str]]]
AS_A_JOB = """import runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]  # the checkout
"""


def written(step: str) -> str:
    return (ROOT / "jobs" / f"{step}.py").read_text(encoding="utf-8")


def parsed(step: str) -> dict:
    block = HEADER.match(written(step))
    assert block is not None, f"jobs/{step}.py has no header; run python scripts/job_headers.py"
    return tomllib.loads("".join(line[2:] for line in block[0].splitlines(keepends=True)[1:-1]))


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Submitted:
    """What `hf jobs uv run --dry-run` would send, by key; nothing of it may hold the planted token."""
    from huggingface_hub.cli.hf import app

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def submit(*words: str) -> dict[str, list[str]]:
        app(["jobs", "uv", "run", "--dry-run", *words], standalone_mode=False)
        shown = capsys.readouterr()
        assert TOKEN not in shown.out + shown.err
        found, key = dict[str, list[str]](), ""
        for named, value in re.findall(r"^  (\w*) +(.+?)(?: \(from script\))?$", shown.out, re.MULTILINE):
            key = named or key  # a second value of the same key stands under the first
            found.setdefault(key, []).append(value)
        return found

    return submit


def test_every_step_has_a_job() -> None:
    assert set(JOBS) == STEPS | {"pipeline"}


@pytest.mark.parametrize("step", JOBS)
def test_a_header_is_what_the_script_writes(step: str) -> None:
    assert with_header(written(step), header(step)) == written(step), "run python scripts/job_headers.py"


@pytest.mark.parametrize("step", JOBS)
def test_the_client_reads_it(step: str, submitted: Submitted) -> None:
    sent = submitted(f"jobs/{step}.py", "--out", "/runs/tiny/made")
    job = JOBS[step]
    assert (sent["flavor"], sent["timeout"]) == ([job.flavor], [job.timeout])
    assert job.flavor in [flavor.value for flavor in JobHardware]
    assert sent.get("secrets", []) == [f"{name}=***" for name in job.secrets]
    assert {f"./{folder}:{APP}/{folder}" for folder in ("qa", "jobs", "data_cards")} <= set(sent["volumes"])
    assert {f"{name}={value}" for name, value in ENVIRONMENT.items()} <= set(sent["env"])
    assert all(Path(volume.partition(":")[0]).is_dir() for volume in sent["volumes"])


def test_what_the_command_line_says_comes_on_top(submitted: Submitted) -> None:
    bucket = "hf://buckets/you/footnote:/runs:rw"
    more = ["-v", bucket, "--timeout", "2d", "--flavor", "h200", "--secrets", "OPENAI_API_KEY"]
    sent = submitted(*more, "jobs/pipeline.py", "--config", "jobs/configs/tiny.yaml")
    own = submitted("jobs/pipeline.py", "--config", "jobs/configs/tiny.yaml")
    assert sent["volumes"] == [*own["volumes"], bucket]
    assert (sent["timeout"], sent["flavor"]) == (["2d"], ["h200"])
    assert sent["secrets"] == ["HF_TOKEN=***", "OPENAI_API_KEY=<not set>"]


@pytest.mark.parametrize("step", JOBS)
def test_dependencies_are_those_of_the_environment(step: str) -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-").split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = [*project["optional-dependencies"]["jobs"], *(ROOT / "requirements.txt").read_text().split()]
    pins = dict(line.lower().replace("_", "-").split("==") for line in direct if "==" in line)
    head = parsed(step)
    assert head["requires-python"] == project["requires-python"]
    assert len(head["dependencies"]) >= 5
    for name, version in (line.lower().split("==") for line in head["dependencies"]):
        assert pins.get(name, version) == version
        assert f"{name}=={version}" in constraints or name == "pip"


def test_a_step_brings_what_it_imports_and_no_more() -> None:
    assert {"trl", "peft", "torch", "datasets", "matplotlib"} <= third_party("jobs.train")
    assert {"lxml", "pypdfium2", "trafilatura"} <= third_party("jobs.collect")  # readers, loaded by name
    assert "rouge_score" in third_party("jobs.evaluate")  # in a metric, loaded by its path
    assert not {"torch", "transformers"} & (third_party("jobs.collect") | third_party("jobs.build_index"))
    assert not any("gradio" in third_party(f"jobs.{step}") for step in JOBS)


def test_a_secrets_value_stands_in_no_header() -> None:
    for step in JOBS:
        assert all(name.isupper() for name in parsed(step)["tool"]["hf-jobs"]["secrets"])


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., str]:
    """Run a script as a job does: from a folder of its own, in another, with the header's variables; its stdout."""

    def start(script: Path, *words: str) -> str:
        variables = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(script), *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return start


def test_a_step_runs_as_a_copy_in_another_folder(job: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    script = shutil.copy(ROOT / "jobs" / "collect.py", tmp_path / "data")
    shutil.copy(ROOT / "jobs" / "sample" / "articles" / "albert.md", tmp_path / "paper.md")
    job(Path(script), "paper.md", "--out", "made")
    record = read_step(tmp_path / "made")
    assert record.command == "python -m jobs.collect paper.md --out made"
    assert record.figures["passages"] >= 1


def test_a_step_named_like_a_library_does_not_stand_in_its_place(job: Callable[..., str], tmp_path: Path) -> None:
    script = tmp_path / "evaluate.py"
    script.write_text("from importlib.util import find_spec; print(find_spec('evaluate').origin)")
    assert "site-packages" in job(script)


def test_a_file_of_the_same_name_is_not_the_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    other = tmp_path / "train.py"
    monkeypatch.setattr(main, "__spec__", None)
    monkeypatch.setattr(main, "__file__", str(other), raising=False)
    assert main_module() is None
    other.write_text("print('another program')")
    assert main_module() is None
    shutil.copy(ROOT / "jobs" / "train.py", other)
    assert main_module() == "jobs.train"


def test_a_run_is_published_by_the_folders_that_a_job_has(tmp_path: Path) -> None:
    app = tmp_path / "app"
    for folder in (volume.split(":")[0] for volume in parsed("publish")["tool"]["hf-jobs"]["volumes"]):
        shutil.copytree(ROOT / folder, app / folder, ignore=shutil.ignore_patterns("__pycache__"))
    run = copy_run(tmp_path)
    script = f"{AS_A_JOB}runpy.run_path({str(app / 'jobs' / 'publish.py')!r}, run_name='__main__')"
    words = [str(run), "--namespace", NAMESPACE, "--name", "from-a-job"]
    with running_hub(tmp_path / "hub") as hub:
        variables = ENVIRONMENT | hub.environment(tmp_path / "home") | {"PYTHONPATH": str(app)}
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(command, cwd=app, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["release", "v1"]
    assert "sdk_version: 6.31.0" in (run / "cards" / "space" / "README.md").read_text(encoding="utf-8")


def test_the_projects_own_header_is_the_spaces() -> None:
    header = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    ours = space_header()
    assert len(ours) == 7
    assert {key: header[key] for key in ours} == ours
