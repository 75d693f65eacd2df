"""A run that is published to a loopback Hub with its page, and the page deployed again. Not a test."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jobs.build_wheel import PACKAGE, VERSION
from jobs.publish import read_published
from jobs.space_deploy import SERVED
from jobs.step import run_step
from local_hub.testing import RunningHub
from tests.publishing import command
from tests.runs import NAME, NAMESPACE, copy_run

SPACE = f"{NAMESPACE}/{NAME}"
WHEEL = f"llama_cpp_python-{VERSION}-py3-none-linux_x86_64.whl"
QUICKLY = (
    "import sys; from jobs import publish, space_deploy; from jobs.errors import run_main; space_deploy.POLL = 0.01\n"
)
PUBLISH = QUICKLY + "run_main(publish.main)"
DEPLOY = (
    QUICKLY
    + """
import json
from pathlib import Path

run, published = Path(sys.argv[1]), json.loads(sys.argv[2])
named = {"namespace": "demo", "name": sys.argv[3], "published": published, "private": False, "wait": True}
run_main(lambda: print(json.dumps(space_deploy.deploy(run, **named))))
"""
)


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
    home, names = folder / "home", ["--namespace", NAMESPACE, "--name", NAME]
    done = command(hub, home, "-c", PUBLISH, str(run), *names, "--only", ",".join(SERVED), "--space")
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(run=run, published=read_published(run / "cards"), home=home, said=done.stdout)


def deploy(hub: RunningHub, world: Any, *, name: str = NAME, **changes: Any) -> Any:
    """Deploy in a process of its own, as the step does; `changes` are of what was published."""
    published = json.dumps({kind: world.published[kind] for kind in SERVED} | changes)
    return command(hub, world.home, "-c", DEPLOY, str(world.run), published, name)
