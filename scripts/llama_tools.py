"""Make llama.cpp's own tools and converter, to test against: `python scripts/llama_tools.py`. Standard library only.

They come from the source distribution of the pinned llama-cpp-python, so that converter, quantiser and servers are of
the very commit that the export uses. Nothing that the project publishes is made with them. What was compiled is kept in
the user's cache, as pip keeps wheels, so that the next clone takes it from there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import tarfile
import venv
from pathlib import Path
from subprocess import CompletedProcess

from setup_env import ROOT, pinned, stop, watch

FOLDER = ROOT / "build" / "llama.cpp"
TOOLS = ("quantize", "imatrix", "perplexity", "cli", "server", "bench")
STAMP = "made.json"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",  # the binding's own default: quantised bytes depend on the instructions used
    "BUILD_SHARED_LIBS": "OFF",  # each tool is one file, which may be moved
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # would be fetched at build time
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", default=",".join(TOOLS), help=f"tools, by comma (default: {','.join(TOOLS)})")
    parser.add_argument("--source-only", action="store_true", help="the converter alone; nothing is compiled")
    options = parser.parse_args()
    tools = tuple(options.only.split(","))
    if unknown := sorted(set(tools) - set(TOOLS)):
        stop(f"--only {unknown[0]}: not a tool this script builds; known are {', '.join(TOOLS)}")
    version = pinned("llama_cpp_python")
    get_source(FOLDER, version)
    if not options.source_only:
        build_tools(FOLDER, version, tools)
    print(f"llama.cpp of {version} is in {FOLDER.relative_to(ROOT)}")


def get_source(folder: Path, version: str) -> None:
    """Unpack llama.cpp's source into `folder/source`, unless that very version is there."""
    source = folder / "source"
    if made(source).get("version") == version:
        return
    fetched, partial = folder / "fetched", folder / "source.partial"
    for leftover in (fetched, partial, source):
        shutil.rmtree(leftover, ignore_errors=True)
    name = version.partition("==")[0]
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", name, "--dest", str(fetched), version]
    check(watch(command, f"source of {version} (77 MB)"), folder, "the source distribution could not be fetched")
    unpack(next(fetched.glob("*.tar.gz")), partial)
    shutil.rmtree(fetched)
    place(partial, source, {"version": version})


def unpack(archive: Path, target: Path) -> None:
    """The files under `vendor/llama.cpp/` of a source distribution."""
    with tarfile.open(archive) as packed:
        for member in packed:
            _, _, inner = member.name.partition("/vendor/llama.cpp/")
            if inner:
                packed.extract(member.replace(name=inner), target, filter="data")


def build_tools(folder: Path, version: str, tools: tuple[str, ...]) -> None:
    """Compile the tools into `folder/bin`, with those already there, or take them from the cache if it has them."""
    known = made(folder / "bin")
    have = tuple(known.get("tools", ())) if known.get("version") == version else ()
    if set(tools) <= set(have):
        return
    tools, kept = tuple(name for name in TOOLS if name in {*tools, *have}), cached(version)
    if set(tools) <= set(made(kept).get("tools", ())):
        copy_tools(kept, folder / "bin", version, tuple(made(kept)["tools"]))
        return
    compile_tools(folder, version, tools)
    copy_tools(folder / "work" / "bin", folder / "bin", version, tools)
    copy_tools(folder / "bin", kept, version, tools)


def compile_tools(folder: Path, version: str, tools: tuple[str, ...]) -> None:
    """Compile the tools into `folder/work/bin`; a start that was killed goes on."""
    work = folder / "work"
    if made(work).get("version") != version:
        shutil.rmtree(work, ignore_errors=True)
    cmake, environment = find_cmake(folder)
    command = [cmake, "-S", str(folder / "source"), "-B", str(work), *(f"-D{key}={on}" for key, on in OPTIONS.items())]
    check(watch(command, "cmake", environment), folder, "cmake could not configure llama.cpp")
    (work / STAMP).write_text(json.dumps({"version": version}))
    cores = str(os.cpu_count() or 1)
    command = [cmake, "--build", str(work), "-j", cores, "--target", *(f"llama-{name}" for name in tools)]
    what = f"llama-{', llama-'.join(tools)}, compiled on {cores} cores"
    check(watch(command, what, environment), folder, "llama.cpp could not be compiled")


def copy_tools(source: Path, target: Path, version: str, tools: tuple[str, ...]) -> None:
    """Put the tools of one folder into another, which is whole at every moment."""
    partial = target.with_name(f"{target.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in tools:
        shutil.copy2(source / f"llama-{name}", partial)
    place(partial, target, {"version": version, "tools": tools})


def cached(version: str) -> Path:
    """Where compiled tools are kept for other clones: by their version, how they are built, and for which processor."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    made_for = json.dumps([version, OPTIONS, platform.system(), platform.libc_ver(), flags])
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "footnote" / f"llama.cpp-{hashlib.sha256(made_for.encode()).hexdigest()[:16]}"


def find_cmake(folder: Path) -> tuple[str, dict[str, str]]:
    """The system's cmake, or one from the package index in an environment of its own; and the variables it needs."""
    if found := shutil.which("cmake"):
        return found, {}
    home = folder / "cmake"
    if not (home / "bin" / "cmake").exists():
        venv.create(home, with_pip=True, clear=True)
        command = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "cmake", "ninja"]
        check(watch(command, "cmake, which this system has not"), folder, "cmake could not be installed")
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return str(home / "bin" / "cmake"), {"PATH": path, "CMAKE_GENERATOR": "Ninja"}


def made(folder: Path) -> dict[str, object]:
    """What the stamp of a folder says; a folder without one is not whole."""
    stamp = folder / STAMP
    return json.loads(stamp.read_text()) if stamp.is_file() else {}


def place(partial: Path, final: Path, stamp: dict[str, object]) -> None:
    """Put a finished folder under its name; the stamp goes in first, so that what has the name is whole."""
    (partial / STAMP).write_text(json.dumps(stamp))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def check(result: CompletedProcess[str], folder: Path, failed: str) -> None:
    """One line if a command failed: what, its last word, and where the others are."""
    if result.returncode:
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "log.txt"
        log.write_text(result.stdout)
        last = (result.stdout.strip().splitlines() or ["(it said nothing)"])[-1]
        stop(f"{failed}: {last} (all its words: {log.relative_to(ROOT)})")


if __name__ == "__main__":
    main()
