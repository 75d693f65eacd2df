"""A run that is published to a loopback Hub with its page, and the page deployed again. Not a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jobs.build_wheel import VERSION
from jobs.publish import read_published
from jobs.space_deploy import SERVED
from jobs.step import run_step
from jobs.wheel_name import PACKAGE, wheel_name
from local_hub.testing import RunningHub
from tests.api_client import state_of
from tests.app_process import free_port
from tests.publishing import api, command
from tests.runs import NAME, NAMESPACE, copy_run

SPACE = f"{NAMESPACE}/{NAME}"
WHEEL = wheel_name(VERSION)
QUICKLY = (
    "import sys; from jobs import publish, space_deploy; from jobs.errors import run_main; space_deploy.POLL = 0.01\n"
)
PUBLISH = QUICKLY + "run_main(publish.main)"
DEPLOY = (
    QUICKLY
    + """
import json
from pathlib import Path
from jobs.card_facts import Run
from qa.artifacts import Repositories

run, published = Path(sys.argv[1]), json.loads(sys.argv[2])
def main():
    read = Run.read(run, Repositories("demo", "footnote-tiny"))
    print(json.dumps(space_deploy.deploy(read, sys.argv[3], published)))

run_main(main)
"""
)


RUN_ALONE = """
import runpy, sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
assert not any(name in sys.modules for name in ("qa", "space", "jobs"))
runpy.run_path("app.py", run_name="__main__")
"""


def write_wheel(folder: Path) -> dict[str, Any]:
    """A wheel in form, with a module that says it is one; the step's figures."""
    info = f"llama_cpp_python-{VERSION}.dist-info"
    members = {
        "llama_cpp/__init__.py": f'__version__ = "{VERSION}"\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: false\nTag: py3-none-linux_x86_64\n",
    }
    record = "".join(f"{name},,\n" for name in (*members, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / WHEEL, "w") as packed:
        for name, text in (members | {f"{info}/RECORD": record}).items():
            packed.writestr(name, text)
    return {"file": WHEEL}


def published_run(hub: RunningHub, folder: Path) -> SimpleNamespace:
    """A run that was published with its page: what is known of it by kind, and a home for clients."""
    run = copy_run(folder)
    arguments = {"package": f"{PACKAGE}=={VERSION}"}
    run_step("build_wheel", run / "wheel", arguments=arguments, inputs={}, work=write_wheel)
    done = publish_page(hub, run, folder / "home")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(run=run, published=read_published(run / "cards"), home=folder / "home", said=done.stdout)


def publish_page(hub: RunningHub, run: Path, home: Path, *words: str, kinds: Sequence[str] = SERVED) -> Any:
    """The command of the step with `--space`, for these kinds."""
    names = ["--namespace", NAMESPACE, "--name", NAME, "--only", ",".join(kinds)]
    return command(hub, home, "-c", PUBLISH, str(run), *names, "--space", *words)


def deploy(hub: RunningHub, world: Any, **changes: Any) -> Any:
    """Deploy in a process of its own, as the step does; `changes` are of what was published, None for not at all."""
    published = {kind: world.published[kind] for kind in SERVED} | changes
    published = json.dumps({kind: entry for kind, entry in published.items() if entry})
    return command(hub, world.home, "-c", DEPLOY, str(world.run), published, SPACE)


def variables_of(hub: RunningHub) -> dict[str, str]:
    """The Space's variables, as they are there."""
    return {key: variable.value for key, variable in api(hub).get_space_variables(SPACE).items()}


@contextmanager
def alone(hub: RunningHub, files: Path, home: Path) -> Iterator[str]:
    """The committed files as an app, with the Space's variables and without token or project; its address."""
    variables = variables_of(hub)
    port = free_port()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
    environment |= hub.environment(home) | variables | {"FOOTNOTE_PORT": str(port), "HF_TOKEN": ""}
    log = home / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_ALONE], cwd=files, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                state_of(f"http://127.0.0.1:{port}")
                break
            except (OSError, ValueError):
                subprocess.run(["sleep", "0.1"], check=True)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
