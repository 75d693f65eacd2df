# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = [
#   "gguf==0.19.0", "llama-cpp-python==0.3.36", "numpy==2.4.6", "pip==26.3", "pydantic==2.14.3", "tqdm==4.70.1",
# ]
# [tool.uv]
# exclude-newer = "2026-11-23T00:00:00Z"
# [tool.hf-jobs]  # written by scripts/job_headers.py
# flavor = "cpu-upgrade"
# timeout = "1h"
# secrets = []
# volumes = ["./qa:/app/qa", "./jobs:/app/jobs", "./data_cards:/app/data_cards", "./scripts:/app/scripts"]
# env.PYTHONPATH = "/app"
# env.PYTHONSAFEPATH = "1"
# env.UV_WORKING_DIR = "/app"
# env.CMAKE_ARGS = "-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=/app/scripts/llama-core.cmake"
# env.SKBUILD_BUILD_TARGETS = "llama"
# ///

"""Build llama-cpp-python's wheel for the Space: `python -m jobs.build_wheel --out runs/tiny/wheel`.

The package index has it as source only, and compiling it takes longer than the build of a Space may. Compiled is
llama.cpp's core for any x86-64 processor with AVX2: one file for every Python 3 on Linux, looked into and tried before
it counts. Needs a C++ compiler; pip brings cmake.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import stopping
from jobs.arguments import path_argument
from jobs.errors import UserError, run_main
from jobs.progress import bar
from jobs.step import StepRecord, file_sha256, run_step, source_sha256
from jobs.wheel_name import PACKAGE, wheel_name

VERSION = "0.3.36"  # as requirements.txt pins it
# Read right after llama.cpp's own project() call; scripts/llama-core.cmake gives the reason.
CORE = "set(LLAMA_BUILD_COMMON OFF)\n"
CMAKE = (
    *("-DLLAVA_BUILD=OFF", "-DGGML_NATIVE=OFF", "-DGGML_SSE42=ON", "-DGGML_AVX=ON", "-DGGML_AVX2=ON"),
    *("-DGGML_BMI2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_AVX512=OFF", "-DCMAKE_BUILD_RPATH_USE_ORIGIN=ON"),
)
TARGETS = "llama"
TOO_NEW = (2, 38)  # its headers make of strtol what a Space, on Debian 12 (2.36), has not: __isoc23_strtol
UNUSED = "/lib/**;/include/**"  # second copies of the libraries, and what C programs would need
EPOCH = "315532800"  # 1 January 1980, from which zip files count: equal sources make an equal wheel
LAST_LINES = 40  # of pip's words, shown where it fails
_FILE_OF = re.compile(r"\s*\[(\d+)/(\d+)\]")  # ninja's count
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", re.IGNORECASE)


def build_wheel(out: Path) -> tuple[StepRecord, bool]:
    """Build the wheel into `out`. Raises `UserError` where that fails, or what comes out would not run in a Space."""
    from jobs import wheel_check, wheel_probe

    return run_step(
        "build_wheel",
        out,
        arguments={
            "package": f"{PACKAGE}=={VERSION}",
            "cmake": [*CMAKE, CORE],
            "targets": TARGETS,
            "without": UNUSED,
            "code": source_sha256(wheel_check, wheel_probe),
        },
        inputs={},
        work=_work,
    )


def _work(folder: Path) -> dict[str, Any]:
    from jobs.wheel_check import check_wheel

    check_machine()
    with tempfile.TemporaryDirectory(prefix="wheel-") as place:
        source, sha256 = _source(Path(place))
        built = _build(source, Path(place))
        found = check_wheel(built, Path(place))
        shutil.copyfile(built, folder / built.name)
    tag = "-".join(built.stem.split("-")[-3:])
    return {"file": built.name, "bytes": (folder / built.name).stat().st_size, "tag": tag, "source": sha256, **found}


def check_machine() -> None:
    """Raise `UserError` where llama.cpp cannot be compiled for a Space."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise UserError(f"a wheel for a Space is built on Linux on x86-64, this is {sys.platform} {platform.machine()}")
    library, version = platform.libc_ver()
    if library != "glibc" or tuple(map(int, version.split("."))) >= TOO_NEW:
        found = f"{library or 'another C library'} {version}".strip()
        raise UserError(
            f"a wheel for a Space is built on Debian 12, this is {found}; build it there, or set publish.space to false"
        )
    for program, package in ((os.environ.get("CXX", "c++"), "g++"), ("objdump", "binutils")):
        if not shutil.which(program):
            raise UserError(f"{program}: not found, and llama.cpp is compiled; apt-get install {package}")


def _source(place: Path) -> tuple[Path, str]:
    """The unpacked source of the package, and the SHA-256 of its archive."""
    wanted = ["--no-deps", "--no-binary", PACKAGE, f"{PACKAGE}=={VERSION}", "--dest", str(place / "archive")]
    _pip(["download", *wanted], {}, "source")
    archive = next((place / "archive").glob("*.tar.gz"))
    with tarfile.open(archive) as packed:
        packed.extractall(place / "unpacked", filter="data")
    return next((place / "unpacked").iterdir()), file_sha256(archive)


def _build(source: Path, place: Path) -> Path:
    """The wheel of an unpacked source. Paths of this machine are kept out of it."""
    core = place / "core.cmake"
    core.write_text(CORE, encoding="utf-8")
    maps = f"-ffile-prefix-map={source}={PACKAGE} -ffile-prefix-map={place}=build"
    environment = {
        "CMAKE_ARGS": " ".join((*CMAKE, f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={core}")),
        "CMAKE_BUILD_PARALLEL_LEVEL": str(len(os.sched_getaffinity(0))),
        "CMAKE_GENERATOR": "Ninja",
        "SKBUILD_BUILD_TARGETS": TARGETS,
        "SKBUILD_BUILD_DIR": str(place / "build"),
        "SKBUILD_WHEEL_EXCLUDE": UNUSED,
        "SOURCE_DATE_EPOCH": EPOCH,
        "CFLAGS": maps,
        "CXXFLAGS": maps,
    }
    _pip(["wheel", "--no-deps", "--verbose", "--wheel-dir", str(place / "wheels"), str(source)], environment, "compile")
    built = next((place / "wheels").glob("*.whl"))
    if built.name != (wanted := wheel_name(VERSION)):
        raise UserError(f"{built.name}: a Space installs {wanted} alone; build it with a Python for Linux on x86-64")
    return built


def _pip(words: Sequence[str], environment: Mapping[str, str], what: str) -> None:
    """Run pip with a bar of the files that are compiled; without secrets, since a package's own code runs in it."""
    known = {key: value for key, value in os.environ.items() if not _SECRET.search(key)}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words]
    said: deque[str] = deque(maxlen=LAST_LINES)
    if failed := _watch(command, {**known, **environment}, what, said):
        print("".join(said), file=sys.stderr)
        raise UserError(f"{PACKAGE}: pip {words[0]} ended with {failed}; above are its last words")


def _watch(command: Sequence[str], environment: Mapping[str, str], what: str, said: deque[str]) -> int:
    """Exit status of a command whose last lines are left in `said`; nothing that it started outlives this process."""
    process: subprocess.Popen[str] | None = None
    options: dict[str, Any] = {"text": True, "errors": "replace", "start_new_session": True}
    try:
        with stopping.deferred():  # till it is known what to end
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
            )
        with bar(None, what, unit="file") as shown:
            for line in process.stdout or ():
                said.append(line)
                if counted := _FILE_OF.match(line):
                    shown.total = int(counted[2])
                    shown.update(int(counted[1]) - shown.n)
        return process.wait()
    except BaseException:
        if process:
            os.killpg(process.pid, signal.SIGKILL)  # compilers would outlive pip
            process.wait()
        raise


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m jobs.build_wheel", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="DIR", help="folder for the wheel: RUN/wheel"
    )
    record, worked = build_wheel(parser.parse_args().out)
    found, said = record.figures, "built" if worked else "already built"
    print(f"{said}: {found['file']}, {found['bytes']:,} bytes, needs GLIBC {found['glibc']}")


if __name__ == "__main__":
    run_main(main)
