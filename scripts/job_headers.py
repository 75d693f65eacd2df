"""Write the headers by which Hugging Face Jobs run the steps: `python scripts/job_headers.py [--check]`.

PEP 723, read by uv, with the `[tool.hf-jobs]` table that `hf jobs uv run jobs/STEP.py …` reads. Dependencies are what a
step's modules import, at any depth and inside functions too, as constraints.txt pins it; the rest is in `JOBS`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.setup_env import LLAMA_BUILD, ROOT

APP = "/app"  # where a job finds the project
CUTOFF = "2026-11-23T00:00:00Z"  # for what the pinned packages depend on: nothing newer; later than every pin
WIDTH = 120
ENVIRONMENT = {
    "PYTHONPATH": APP,
    "PYTHONSAFEPATH": "1",  # without it /data/evaluate.py, the step, is what `import evaluate` finds
    "UV_WORKING_DIR": APP,  # paths in a configuration, such as jobs/sample/articles, are the checkout's
}
CARRIED = ("qa", "jobs", "data_cards")
LLAMA = "llama-cpp-python"  # has no wheel: compiled where the job runs, its core alone as in `make demo`
COMPILING = {
    "CMAKE_ARGS": LLAMA_BUILD["CMAKE_ARGS"].replace(str(ROOT), APP),
    "SKBUILD_BUILD_TARGETS": LLAMA_BUILD["SKBUILD_BUILD_TARGETS"],
}
OPTIONAL = {"ray"}  # imported only where a configuration asks for it
LOADED = {  # packages that load modules by a name that is put together, and those modules
    "jobs.readers": "jobs/readers/*.py",
    "jobs.metrics": "jobs/metrics/*/*.py",
}
CPU, GPU, TOKEN = "cpu-upgrade", "l40sx1", ("HF_TOKEN",)


@dataclass(frozen=True)
class Job:
    """Where a step runs, how long at most, with which secrets, and packages that it needs without importing them."""

    flavor: str
    timeout: str
    secrets: tuple[str, ...] = TOKEN
    beside: tuple[str, ...] = ()


TRAINING = ("accelerate", "bitsandbytes", "trackio")
# Those of train and ladder are many times what docs/rented-gpus.md calculates for a 3B; the other times are guesses, on
# the long side, since a job that ends early costs nothing more and one that is cut off costs what it did.
JOBS = {
    "collect": Job(CPU, "8h"),
    "build_index": Job(CPU, "1h", ()),
    "write_questions": Job(CPU, "12h", beside=("accelerate",)),
    "pretrain": Job(CPU, "2h", ()),
    "build_dataset": Job(CPU, "4h"),
    "train": Job(GPU, "12h", beside=TRAINING),
    "merge": Job(CPU, "2h"),
    "export": Job(CPU, "8h"),
    "export_adapter": Job(CPU, "4h"),
    "ladder": Job("cpu-xl", "12h"),
    "answer_examples": Job(CPU, "1h", ()),
    "evaluate": Job(GPU, "12h", beside=("accelerate",)),
    "build_wheel": Job(CPU, "1h", (), beside=("pip",)),  # which uv's environments have not
    "publish": Job(CPU, "4h"),
    "pipeline": Job(GPU, "24h", beside=(*TRAINING, "pip")),
}
UNPINNED = {"pip": "pip==26.3"}  # not among the constraints, which pip itself applies
HEADER = re.compile(r"\A# /// script\n(?:#.*\n)*?# ///\n")


def header(step: str) -> str:
    """The comment block of a step, from `# /// script` to `# ///`."""
    job, packages = JOBS[step], dependencies(step)
    compiles = any(package.startswith(LLAMA) for package in packages)
    carried = (*CARRIED, "scripts") if compiles else CARRIED
    environment = ENVIRONMENT | (COMPILING if compiles else {})
    listed = textwrap.wrap(
        ", ".join(json.dumps(package) for package in packages) + ",", WIDTH - 4, break_on_hyphens=False
    )
    lines = [
        "# /// script",
        f"# requires-python = {json.dumps(_requires_python())}",
        *("# dependencies = [", *(f"#   {line}" for line in listed), "# ]"),
        "# [tool.uv]",
        f"# exclude-newer = {json.dumps(CUTOFF)}",
        "# [tool.hf-jobs]  # written by scripts/job_headers.py",
        f"# flavor = {json.dumps(job.flavor)}",
        f"# timeout = {json.dumps(job.timeout)}",
        f"# secrets = {json.dumps(job.secrets)}",
        f"# volumes = {json.dumps([f'./{folder}:{APP}/{folder}' for folder in carried])}",
        *(f"# env.{name} = {json.dumps(value)}" for name, value in environment.items()),
        "# ///",
    ]
    return "".join(f"{line}\n" for line in lines)


def dependencies(step: str) -> list[str]:
    """`package==version` of every distribution that the step needs, in alphabetical order."""
    pins, distributions = _pins(), _distributions()
    needed = set(JOBS[step].beside)
    for module in third_party(f"jobs.{step}") - OPTIONAL:
        names = [_plain(name) for name in distributions.get(module, [module])]
        needed.add(next((name for name in names if name in pins), names[0]))
    if missing := sorted(needed - pins.keys()):
        raise SystemExit(f"jobs/{step}.py: {', '.join(missing)} is not pinned; add a line to constraints.txt")
    return [pins[name] for name in sorted(needed)]


def third_party(module: str) -> set[str]:
    """Top-level modules from outside of the project and of Python that a module leads to."""
    waiting, seen, found = [module], set[str](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if (head := name.partition(".")[0]) not in CARRIED:
            found |= {head} - sys.stdlib_module_names
            continue
        for path in _files(name):
            waiting += imported(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []
    return found


def _files(module: str) -> list[Path]:
    """The files of a module of the project, with those that it loads by name; none where it is a name in a module."""
    place = ROOT / module.replace(".", "/")
    files = [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
    return files + (sorted(ROOT.glob(LOADED[module])) if module in LOADED else [])


@cache
def imported(path: Path) -> list[str]:
    """Modules that a file imports, at its top or in a function; not those of its type hints alone."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8"))))


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


@cache
def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {_plain(line.partition("==")[0]): line.replace("_", "-") for line in lines if "==" in line} | UNPINNED


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requires_python() -> str:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]


def with_header(text: str, block: str) -> str:
    """A script's text with the block in front, in place of the one that it has."""
    return block + "\n" + HEADER.sub("", text).lstrip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit code 1 where a header is out of date"
    )
    options = parser.parse_args()
    old = False
    for step in JOBS:
        path = ROOT / "jobs" / f"{step}.py"
        text = path.read_text(encoding="utf-8")
        if (new := with_header(text, header(step))) != text:
            old = True
            print(f"{path.relative_to(ROOT)}: {'out of date' if options.check else 'written'}")
            if not options.check:
                path.write_text(new, encoding="utf-8")
    raise SystemExit(1 if old and options.check else 0)


if __name__ == "__main__":
    main()
