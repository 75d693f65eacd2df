"""A step's folder is whole or not there after a kill at any file operation, also on a mount that lacks some."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import jobs.placing
import jobs.step
from jobs.data_config import Scale
from jobs.errors import UserError
from jobs.shards import run_shards
from jobs.step import CHECKPOINTS, STEP_FILE, finished, read_step, run_step
from tests.shard_work import trace, traces

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile"}


def make(out: Path, letter: str) -> bool:
    """A step of three files and a checkpoint; whether it was done now."""

    def work(folder: Path) -> dict[str, Any]:
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        (folder / CHECKPOINTS / "first").write_text(letter)
        (folder / "deep").mkdir()
        for name in ("a.txt", "deep/b.txt", "c.txt"):
            (folder / name).write_text(letter * 9)
        return {"letter": letter}

    return run_step("spell", out, arguments={"letter": letter}, inputs={}, work=work)[1]


@pytest.fixture(autouse=True)
def no_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git and package versions, which take longer than the step."""
    monkeypatch.setattr(jobs.step, "git_commit", lambda: None)
    monkeypatch.setattr(jobs.step, "versions", dict)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount as an object store has it: no locks, no flushing, no renames of folders."""

    def refuse(number: int) -> Callable[..., None]:
        def call(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return call

    def rename(source: Path, target: Path) -> Path:
        if source.is_dir():
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        return source.replace(target)

    monkeypatch.setattr("fcntl.flock", refuse(errno.ENOSYS))
    monkeypatch.setattr("os.fsync", refuse(errno.ENOTSUP))
    monkeypatch.setattr(Path, "rename", rename)


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with locks whose folders cannot be renamed."""

    def rename(source: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))

    monkeypatch.setattr(Path, "rename", rename)


def check(out: Path, letter: str) -> None:
    """The result is whole, and nothing else lies about."""
    assert finished(out) is not None
    assert read_step(out).figures == {"letter": letter}
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name]
    assert sorted(path.name for path in out.rglob("*")) == ["a.txt", "b.txt", "c.txt", "deep", STEP_FILE]
    assert {path.read_text() for path in out.rglob("*.txt")} == {letter * 9}


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do the work in a process that is killed at its file operation of that number; whether it came to it."""
    if not (child := os.fork()):
        seen = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in OPERATIONS and (seen := seen + 1) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def kill_everywhere(folder: Path) -> int:
    """Kill at every file operation of a step that replaces an older result; how many there were."""
    out = folder / "runs" / "out"
    number = 1
    while True:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        make(out, "a")
        if not killed_at(number, lambda: make(out, "b")):
            check(out, "b")
            return number - 1
        if (out / STEP_FILE).is_file():
            assert finished(out) is not None, f"a record vouches for torn files, killed at {number}"
        for _ in range(2):  # the second finds everything done
            new = make(out, "b")
        assert not new
        check(out, "b")
        number += 1


def test_a_kill_at_any_file_operation_loses_nothing(tmp_path: Path) -> None:
    assert kill_everywhere(tmp_path) > 25


def test_nor_does_one_on_a_mount_without_renames(tmp_path: Path, bucket: None) -> None:
    assert kill_everywhere(tmp_path) > 35


def test_a_mount_without_locks_says_so_once(tmp_path: Path, bucket: None, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "out", "a")
    check(tmp_path / "out", "a")
    said = capsys.readouterr().err
    assert said == f"{tmp_path / 'out.partial'}: the file system has no locks; start no second process here\n"


def test_a_second_start_while_the_first_copies_is_refused(
    tmp_path: Path, disks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, refused = tmp_path / "out", 0
    make(out, "a")

    def copy(source: Any, target: Any) -> None:
        nonlocal refused
        for letter in "ab":
            with pytest.raises(UserError, match=r"out\.partial: another process is at work in it"):
                make(out, letter)
            refused += 1
        target.write(source.read())

    monkeypatch.setattr("shutil.copyfileobj", copy)
    assert make(out, "b")
    check(out, "b")
    assert refused == 8


def test_nor_does_one_meddle_while_the_first_removes_the_last_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, remove, refused = tmp_path / "out", jobs.placing.remove, []
    make(out, "a")

    def disturbed(folder: Path) -> None:
        if folder.name == "out.old" and not refused:
            with pytest.raises(UserError, match=r"out: another process is at work in it") as caught:
                make(out, "b")
            refused.append(caught)
        remove(folder)

    monkeypatch.setattr("jobs.placing.remove", disturbed)
    assert make(out, "b")
    assert len(refused) == 1
    assert not make(out, "b")
    check(out, "b")


def test_a_copy_that_is_not_what_was_made_costs_nothing(
    tmp_path: Path, disks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", lambda source, target: target.write(source.read().replace(b"a" * 9, b"")))
        with pytest.raises(UserError, match=r"out: is not what was copied from .*out\.partial; run again, or use"):
            make(out, "a")
    assert finished(tmp_path / "out.partial") is not None
    assert make(out, "a")
    check(out, "a")


def test_a_shard_is_kept_on_a_mount_without_flushing(tmp_path: Path, bucket: None) -> None:
    items = [{"n": n} for n in range(3)]
    work = partial(trace, folder=str(tmp_path))
    rows = list(run_shards("squares", items, work, tmp_path, scale=Scale(workers=1), size=2))
    assert [row["square"] for row in rows] == [0, 1, 4]
    assert traces(tmp_path) == [0, 2]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_other_troubles_of_a_mount_are_not_hidden(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        make(tmp_path / "out", "a")
    assert (tmp_path / "out.partial" / STEP_FILE).is_file()  # whole: the next start has but to place it
    monkeypatch.undo()
    assert make(tmp_path / "out", "a")
    check(tmp_path / "out", "a")


def test_a_run_goes_on_in_a_copy_of_its_folder(tmp_path: Path) -> None:
    """As rsync and `hf buckets sync` copy it: other times, another place, the partial folder with it."""
    seen: list[bool] = []

    def work(folder: Path) -> dict[str, Any]:
        seen.append((folder / CHECKPOINTS / "half").is_file())
        if not seen[-1]:
            (folder / CHECKPOINTS).mkdir()
            (folder / CHECKPOINTS / "half").write_text("half")
            raise UserError("ended")
        return {}

    first, second = tmp_path / "first", tmp_path / "second"
    make(first / "source", "a")
    with pytest.raises(UserError, match="ended"):
        run_step("read", first / "out", arguments={}, inputs={"source": first / "source"}, work=work)
    shutil.copytree(first, second, copy_function=shutil.copyfile)
    for path in second.rglob("*"):
        os.utime(path, (0, 0))
    shutil.rmtree(first)
    assert not make(second / "source", "a")
    run_step("read", second / "out", arguments={}, inputs={"source": second / "source"}, work=work)
    assert seen == [False, True]
