"""Kills each step of a small loop at random moments and compares what is left with an undisturbed run.

`python -m tests.kills [--kills 20] [--steps train,publish] [--seed 17] [--folder DIR]` prints a table; exit code 1
where anything differs. Three kills of four come at a random moment of the work itself, as long as the undisturbed one
took, the others at one of the whole start, most of which is imports. Linux alone tells who is at work. Not a test:
`tests/test_kills.py` runs a little of it. `build wheel` is not among the steps: it compiles for minutes, and begins
with nothing again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jobs.progress import bar
from jobs.step import finished, read_step
from local_hub.testing import running_hub

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "base.pretrain.steps=240 base.pretrain.batch=2 base.pretrain.length=64 base.pretrain.layers=2 "
    "base.pretrain.vocabulary=600 base.pretrain.context=1024 train.max_steps=12 train.report_to=none "
    "evaluation.limit=6 ladder.tokens=1024 ladder.questions=8 export.imatrix_tokens=4000"
).split()
ARTICLES = 4  # one of each so many of the sample
FOLDERS = {
    **{"collect": "passages", "build index": "index", "write questions": "questions", "pretrain": "base"},
    **{"build data set": "dataset", "train": "adapter", "merge": "merged", "export": "gguf"},
    **{"export base": "base_gguf", "export adapter": "adapter_gguf", "ladder": "ladder"},
    **{"answer examples": "examples", "evaluate": "evaluation", "publish": "cards"},
}
STARTS = 2  # killed at most before one is left alone: what keeps no checkpoint would never end
# What is no function of a step's inputs, by file: when, how long, what a clock measured, how often it was killed. Files
# are compared themselves, so their hashes in step.json have only to be theirs.
CLOCKED = {
    "step.json": {"started", "seconds", "resumed_from", "committed", "outputs", "tokens_per_second"},
    "examples.json": {"seconds"},
    "published.json": {"committed"},  # whether by this start or by one that was killed
    "ladder.json": {"seconds", "speed"},
    "metrics.json": {"seconds"},
    "items.parquet": {"seconds"},
    "log_history.json": {"seconds", "tokens_per_second", "peak_memory_gib"}
    | {f"{of}_{what}" for of in ("eval", "train") for what in ("runtime", "samples_per_second", "steps_per_second")},
}
# Of the evaluation's report the seconds of a question, which alone have four decimals; of the training's its speed.
CLOCKED_TEXT = {"report.md": re.compile(rb"(?m)\b\d+\.\d{4}\b|^\| (tokens a second|time in|gone on).*$")}
UNCOMPARED = {"course.png"}  # the plot of speed and memory
# Commits of the Hub, which have the time in them.
COMMIT = re.compile(rb"\b[0-9a-f]{40}\b|`[0-9a-f]{12}`")


@dataclass
class Trial:
    """What became of one step."""

    step: str
    seconds: float  # of the whole start
    work: float  # of the step itself, by its record
    kills: int = 0
    at_work: int = 0  # kills of a process that had claimed the step's folder
    late: int = 0  # starts that ended before they were killed
    ends: int = 0
    kept: int = 0  # starts that found work to go on from
    differences: list[str] = field(default_factory=list)

    def row(self) -> str:
        equal = "yes" if not self.differences else "NO: " + "; ".join(sorted(set(self.differences))[:12])
        figures = (f"{self.seconds:.1f}", f"{self.work:.1f}", self.kills, self.at_work, self.late, self.ends, self.kept)
        return f"| {self.step} | {' | '.join(map(str, figures))} | {equal} |"


class World:
    """A folder with documents, one run, the undisturbed result of each step, and a Hub that is fresh each time."""

    def __init__(self, folder: Path, every: int = ARTICLES) -> None:
        self.folder, self.run, self.reference = folder, folder / "run", folder / "reference"
        self.port, self.hubs = 0, 0
        self.seconds: dict[str, float] = {}
        (folder / "documents").mkdir(parents=True)
        texts = [path for path in (ROOT / "jobs/sample/articles").iterdir() if path.suffix in {".md", ".html", ".tex"}]
        for path in sorted(texts)[::every]:
            shutil.copy(path, folder / "documents")

    @contextmanager
    def hub(self) -> Iterator[dict[str, str]]:
        """The environment of a command with a Hub that nobody has published to."""
        self.hubs += 1
        root = self.folder / f"hub{self.hubs}"
        with running_hub(root, port=self.port) as hub:
            self.port = int(hub.endpoint.rpartition(":")[2])
            own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # a second thread costs more than it saves here
            yield {**os.environ, **hub.environment(self.folder / "home"), **own}
        shutil.rmtree(root)

    def command(self, step: str) -> list[str]:
        settings = [word for value in SETTINGS for word in ("--set", value)]
        words = ["--config", "jobs/configs/tiny.yaml", "--documents", str(self.folder / "documents")]
        words += ["--namespace", "demo", "--run", str(self.run), "--until", FOLDERS[step]]
        return [sys.executable, "-m", "jobs.pipeline", *words, *settings]

    def start(self, step: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        log = (self.folder / "log.txt").open("wb")
        return subprocess.Popen(self.command(step), cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True)

    def finish(self, step: str, env: dict[str, str]) -> float:
        """Start the step and wait for its end: the seconds it took. Raises where it failed."""
        begun = time.monotonic()
        if (code := self.start(step, env).wait()) != 0:
            raise RuntimeError(f"{step}: exit code {code}\n{(self.folder / 'log.txt').read_text()[-3000:]}")
        return time.monotonic() - begun

    def undisturbed(self, steps: list[str]) -> None:
        """Make each step's reference, and once more what is done to the seconds a step takes."""
        with self.hub() as env:
            for step in steps:
                self.seconds[step] = self.finish(step, env)
                shutil.copytree(self.run / FOLDERS[step], self.reference / FOLDERS[step])
                self._note_hub(env, step)

    def _note_hub(self, env: dict[str, str], step: str) -> None:
        if step == "publish":
            (self.reference / "hub.json").write_text(json.dumps(published(env)))

    def trial(self, step: str, kills: int, seed: int) -> Trial:
        """Kill the step so many times in as many runs as it takes, each of which begins with nothing and must end."""
        work = read_step(self.reference / FOLDERS[step]).seconds
        draw, trial = random.Random(f"{seed} {step}"), Trial(step, self.seconds[step], work)
        with bar(kills, step, unit="kill") as shown:
            while trial.kills < kills:
                self._clear(step)
                with self.hub() as env:
                    self._disturbed(trial, env, draw, min(STARTS, kills - trial.kills), shown)
                    trial.differences += differences(self.reference / FOLDERS[step], self.run / FOLDERS[step])
                    if step == "publish":
                        known = json.loads((self.reference / "hub.json").read_text())
                        trial.differences += [f"Hub: {name}" for name in _differing(known, published(env), set())]
                trial.ends += 1
        self._clear(step)
        shutil.copytree(self.reference / FOLDERS[step], self.run / FOLDERS[step])  # later ones tell its seconds
        return trial

    def _clear(self, step: str) -> None:
        for suffix in ("", ".partial", ".old"):
            shutil.rmtree(self.run / (FOLDERS[step] + suffix), ignore_errors=True)

    def _disturbed(self, trial: Trial, env: dict[str, str], draw: random.Random, starts: int, shown: Any) -> None:
        """One run: started and killed until one start ends by itself, and at last left to end."""
        for _ in range(starts):
            process = self.start(trial.step, env)
            try:
                code = self._until(process, trial, draw)
            except subprocess.TimeoutExpired:
                self._kill(trial, process, draw)
                shown.update()
            else:
                trial.late, trial.differences = trial.late + 1, trial.differences + [f"exit code {code}"] * bool(code)
                break  # what is done has nothing left to kill
            kept = self.run / (FOLDERS[trial.step] + ".partial") / "checkpoints"
            trial.kept += kept.is_dir() and any(kept.iterdir())
        self.finish(trial.step, env)

    def _until(self, process: subprocess.Popen[bytes], trial: Trial, draw: random.Random) -> int:
        """The exit code of a start that ended before it was to be killed. Raises `TimeoutExpired` when it is to be."""
        if draw.random() < 0.25:
            return process.wait(draw.uniform(0, trial.seconds))
        while not self._at_work(trial.step):
            if (code := process.poll()) is not None:
                return code
            time.sleep(0.002)
        return process.wait(draw.uniform(0, trial.work))

    def _at_work(self, step: str) -> bool:
        """Whether a process has claimed the step's folder, by whichever name it has now."""
        folder = self.run / FOLDERS[step]
        return any(_locked(path) for path in (folder, folder.with_name(f"{folder.name}.partial")))

    def _kill(self, trial: Trial, process: subprocess.Popen[bytes], draw: random.Random) -> None:
        process.send_signal(signal.SIGSTOP)  # while its lock is looked at
        trial.at_work += self._at_work(trial.step)
        killed = os.killpg if draw.random() < 0.5 else os.kill  # a machine's end, or one process's for memory
        killed(process.pid, signal.SIGKILL)
        process.wait()
        trial.kills += 1


def _locked(folder: Path) -> bool:
    """Whether any process holds the folder's lock: told by the kernel, since to try it would be to take it."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return False
    place = f" {os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino} "
    return place in Path("/proc/locks").read_text(encoding="ascii")


def differences(reference: Path, found: Path) -> list[str]:
    """The files, and the keys of JSON files, in which two results of a step differ, but for what a clock measured."""
    paths = {path for folder in (reference, found) for path in folder.rglob("*") if path.is_file()}
    names = {path.relative_to(reference if path.is_relative_to(reference) else found).as_posix() for path in paths}
    result = [] if finished(found) else ["hashes in step.json"]
    for name in sorted(names - UNCOMPARED):
        first, second = reference / name, found / name
        if not (first.is_file() and second.is_file()):
            result.append(name)
        elif (clocked := CLOCKED.get(name)) is not None:
            result += [
                f"{name} {key}" for key in _differing(_values(first, clocked), _values(second, clocked), clocked)
            ]
        elif _text(first) != _text(second):
            result.append(name)
    return result


def _values(path: Path, clocked: set[str]) -> Any:
    """What a JSON file holds, or the columns of a Parquet file that no clock measured."""
    if path.suffix == ".parquet":
        return pq.read_table(path).drop_columns(list(clocked)).to_pydict()
    return json.loads(COMMIT.sub(b"commit", path.read_bytes()))


def _text(path: Path) -> bytes:
    text = COMMIT.sub(b"commit", path.read_bytes())
    return CLOCKED_TEXT[path.name].sub(b"time", text) if path.name in CLOCKED_TEXT else text


def _differing(first: Any, second: Any, clocked: set[str], place: str = "") -> list[str]:
    """The dotted places in which two JSON values differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        keys = (first.keys() | second.keys()) - clocked
        return [
            name
            for key in sorted(keys)
            for name in _differing(first.get(key), second.get(key), clocked, f"{place}.{key}".strip("."))
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [name for number, pair in pairs for name in _differing(*pair, clocked, f"{place}.{number}")]
    return [] if first == second else [place]


def published(env: dict[str, str]) -> dict[str, Any]:
    """Of every repository on the Hub how many commits it has, and its files' names and SHA-256.

    A large file's hash is the one that the Hub keeps it by; a small one is hashed here, without the commits it names.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi(endpoint=env["HF_ENDPOINT"], token=env["HF_TOKEN"])
    result = {}
    for kind, listed in (("model", api.list_models(author="demo")), ("dataset", api.list_datasets(author="demo"))):
        for name in sorted(entry.id for entry in listed):
            tree = api.list_repo_tree(name, recursive=True, repo_type=kind)
            files = [file for file in tree if isinstance(file, RepoFile)]
            hashes = {file.path: file.lfs.sha256 for file in files if file.lfs}
            small = [file.path for file in files if not file.lfs]
            with tempfile.TemporaryDirectory() as folder:
                api.snapshot_download(name, repo_type=kind, local_dir=folder, allow_patterns=small)
                hashes |= {path: hashlib.sha256(_text(Path(folder) / path)).hexdigest() for path in small}
            result[name] = {"commits": len(api.list_repo_commits(name, repo_type=kind)), "files": hashes}
    return result


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of each step")
    parser.add_argument("--steps", default=",".join(FOLDERS), help="that are killed, by name")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--folder", type=Path, help="new folder for the runs (default: a temporary one)")
    options = parser.parse_args(words)
    steps, names = options.steps.split(","), list(FOLDERS)
    world = World(options.folder or Path(tempfile.mkdtemp(prefix="footnote-kills-")))
    world.undisturbed(names[: max(names.index(step) for step in steps) + 1])
    print(f"undisturbed: {sum(world.seconds.values()):.0f} s in {world.folder}", flush=True)
    heads = (
        "step",
        "seconds undisturbed",
        "of these work",
        "kills",
        "at work",
        "late",
        "ends",
        "went on from kept work",
        "equal",
    )
    print(f"| {' | '.join(heads)} |", flush=True)
    print("|---" * len(heads) + "|", flush=True)
    trials = []
    for step in steps:
        trials.append(world.trial(step, options.kills, options.seed))
        print(trials[-1].row(), flush=True)
    raise SystemExit(any(trial.differences for trial in trials))


if __name__ == "__main__":
    main()
