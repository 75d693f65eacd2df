"""The wheel of llama.cpp's binding: how pip is asked for it, what is refused of what comes out, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from jobs import build_wheel as step
from jobs import wheel_check
from jobs.errors import UserError
from jobs.step import file_sha256
from tests.spaces import WHEEL, write_wheel

ROOT = Path(__file__).parents[1]
ELF = (
    "  NEEDED               libgomp.so.1\n  NEEDED               libggml-base.so.0\n  NEEDED               libc.so.6\n"
)
SYMBOLS = "(GLIBC_2.2.5) memcpy\n(GLIBC_2.34) pow\n(GLIBC_2.9) x\n(GLIBCXX_3.4.29) y\n"
CODE = "vmovups %ymm0,(%rdi)\n"


def test_version_and_shortcut_are_those_of_the_environment() -> None:
    assert f"{step.PACKAGE}=={step.VERSION}\n" in (ROOT / "requirements.txt").read_text()
    shared = (ROOT / "scripts" / "llama-core.cmake").read_text().splitlines()
    assert step.CORE.splitlines() == [line for line in shared if not line.startswith("#")]


class Pip:
    """Stands for pip: writes a source and a wheel, and remembers how it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[list[str], dict[str, str]]] = {}

    def __call__(self, words: list[str], environment: dict[str, str], what: str) -> None:
        self.asked[words[0]] = words, dict(environment)
        if words[0] == "download":
            archive = Path(words[-1]) / "llama_cpp_python-0.3.36.tar.gz"
            archive.parent.mkdir()
            with tarfile.open(archive, "w:gz") as packed:
                entry = tarfile.TarInfo("llama_cpp_python-0.3.36/pyproject.toml")
                packed.addfile(entry, io.BytesIO())
        else:
            assert (Path(words[-1]) / "pyproject.toml").is_file()
            folder = Path(words[words.index("--wheel-dir") + 1])
            folder.mkdir()
            write_wheel(folder)


def test_it_is_built_from_source_for_any_processor_with_avx2_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Pip()
    monkeypatch.setattr(step, "_pip", pip)
    monkeypatch.setattr(wheel_check, "check_wheel", lambda wheel, place: {"glibc": "2.34"})
    record, worked = step.build_wheel(tmp_path / "wheel")
    words, _ = pip.asked["download"]
    assert words[:5] == ["download", "--no-deps", "--no-binary", "llama-cpp-python", "llama-cpp-python==0.3.36"]
    _, environment = pip.asked["wheel"]
    flags = environment["CMAKE_ARGS"].split()
    assert {"-DGGML_NATIVE=OFF", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON"} < set(flags)
    assert "-DGGML_AVX512=OFF" in flags
    assert environment["SKBUILD_BUILD_TARGETS"] == "llama"
    assert not [key for key in environment if environment[key].startswith(str(ROOT))]
    wheel = tmp_path / "wheel" / WHEEL
    assert (record.figures["file"], record.figures["tag"]) == (WHEEL, "py3-none-linux_x86_64")
    assert record.outputs == {WHEEL: {"bytes": wheel.stat().st_size, "sha256": file_sha256(wheel)}}
    assert (worked, step.build_wheel(tmp_path / "wheel")[1]) == (True, False)


def written(monkeypatch: pytest.MonkeyPatch, **said: str) -> dict[str, Any]:
    """What is found of a library of which objdump says this."""
    words = {"-p": ELF, "-T": SYMBOLS, "-d": CODE} | {f"-{key}": text for key, text in said.items()}
    monkeypatch.setattr(wheel_check, "_objdump", lambda option, path: words[option])
    return wheel_check._needs("a.whl", [Path("libggml-base.so"), Path("libllama.so")])


def test_what_a_library_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch) == {
        "glibc": "2.34",
        "libstdcxx": "3.4.29",
        "libraries": ["libc.so.6", "libgomp.so.1"],
        "avx512_instructions": 0,
    }


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"T": "(GLIBC_2.38) strtol"}, "GLIBC 2.38"),
        ({"T": "(GLIBCXX_3.4.32) z"}, "GLIBCXX 3.4.32"),
        ({"p": "  NEEDED               libc.musl-x86_64.so.1\n"}, "libc.musl-x86_64.so.1"),
        ({"d": "vaddps %zmm0,%zmm1,%zmm2\n"}, "AVX-512"),
    ],
)
def test_what_would_not_start_in_a_space_is_refused(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        written(monkeypatch, **said)


def installed(target: Path) -> Path:
    """The installed package as an unpacked wheel has it, by links; the folder of its libraries is a copy."""
    package = Path(find_spec("llama_cpp").origin).parent  # type: ignore[union-attr, arg-type]
    (target / "llama_cpp" / "lib").mkdir(parents=True)
    for path in [*package.glob("*.py"), *package.glob("lib/*.so*")]:
        (target / "llama_cpp" / path.relative_to(package)).symlink_to(path)
    return target / "llama_cpp" / "lib"


def test_a_wheel_must_load_and_compute_what_the_installed_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    libraries = installed(tmp_path)
    assert wheel_check._compare("a.whl", tmp_path, tmp_path) is True
    known = {"package": str(tmp_path / "llama_cpp" / "__init__.py"), "tokens": [1, 2], "logits": [0.0, 1.0]}
    with monkeypatch.context() as other:
        other.setattr(wheel_check, "_probe", lambda model, environment: known | {"tokens": [len(environment)]})
        with pytest.raises(UserError, match="computes other values"):
            wheel_check._compare("a.whl", tmp_path, tmp_path)
    (libraries / "libllama.so").unlink()
    (libraries / "libllama.so").write_bytes(b"\x7fELF torn")
    with pytest.raises(UserError, match="does not run here"):
        wheel_check._compare("a.whl", tmp_path, tmp_path)


def test_a_wheel_without_libraries_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as packed:
        packed.writestr("llama_cpp/__init__.py", "")
    with pytest.raises(UserError, match="holds no library"):
        wheel_check.check_wheel(tmp_path / "a.whl", tmp_path)


@pytest.mark.parametrize(
    ("library", "words"), [(("glibc", "2.38"), "this is glibc 2.38;"), (("", ""), "this is another C library;")]
)
def test_a_machine_whose_wheel_would_not_start_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: tuple[str, str], words: str
) -> None:
    monkeypatch.setattr(step.platform, "libc_ver", lambda: library)
    with pytest.raises(UserError, match=f"built on Debian 12, {words}"):
        step.build_wheel(tmp_path / "wheel")
    assert not list(tmp_path.iterdir())


def test_a_wheel_for_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = WHEEL.replace("x86_64", "aarch64")

    def pip(words: list[str], *_: Any) -> None:
        (tmp_path / "wheels").mkdir()
        (tmp_path / "wheels" / other).touch()

    monkeypatch.setattr(step, "_pip", pip)
    with pytest.raises(UserError, match=f"^{other}: a Space installs {WHEEL} alone"):
        step._build(tmp_path, tmp_path)


def interpreter(folder: Path, script: str) -> str:
    """A program that stands for Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_build_that_fails_shows_its_last_words_and_sees_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = 'echo "[3/78] Building"; env; echo "asked: $*"; echo "c++: no such flag"; exit 3'
    monkeypatch.setattr(step.sys, "executable", interpreter(tmp_path, script))
    monkeypatch.setenv("HF_TOKEN", "hf_" + "planted" * 4)
    monkeypatch.setenv("SOME_API_KEY", "planted too")
    monkeypatch.setattr(step, "LAST_LINES", 200)
    with pytest.raises(UserError, match="pip wheel ended with 3"):
        step._pip(["wheel", "there"], {"CMAKE_ARGS": "-DX=1"}, "compile")
    said = capsys.readouterr().err
    assert "c++: no such flag" in said
    assert "CMAKE_ARGS=-DX=1" in said
    assert "asked: -m pip --disable-pip-version-check --no-input wheel there" in said
    assert "planted" not in said


def test_no_compiler_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no-such-compiler.*apt-get install g\+\+"):
        step.build_wheel(tmp_path / "wheel")
    assert not list(tmp_path.iterdir())


def test_a_build_that_is_stopped_leaves_no_compiler_behind(tmp_path: Path) -> None:
    fake = interpreter(
        tmp_path, f"sleep 300 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child; wait"
    )
    program = (
        "import sys; from jobs import build_wheel as step; from jobs.errors import run_main\n"
        f"sys.executable = {fake!r}\n"
        "run_main(lambda: step._pip(['wheel'], {}, 'compile'))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    child = tmp_path / "child"
    while not child.is_file():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    for _ in range(500):
        if not _lives(int(child.read_text())):
            return
        time.sleep(0.01)
    raise AssertionError("the compiler lives on")


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
