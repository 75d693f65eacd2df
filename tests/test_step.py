"""A step's folder is whole or not there, is not made twice, and goes on after a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.step import CHECKPOINTS, StepRecord, fingerprint, read_step, run_step

ROOT = Path(__file__).parents[1]


def make(out: Path, source: Path, calls: list[Path], **arguments: object) -> tuple[StepRecord, bool]:
    def work(folder: Path) -> dict[str, object]:
        calls.append(folder)
        (folder / "result.txt").write_text(source.read_text().upper())
        return {"letters": len(source.read_text())}

    return run_step("shout", out, arguments=arguments, inputs={"source": source}, work=work)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("hello")
    return path


def test_a_step_is_done_once_and_says_what_it_did(tmp_path: Path, source: Path) -> None:
    calls: list[Path] = []
    first, new = make(tmp_path / "out", source, calls, loud=True)
    again, repeated = make(tmp_path / "out", source, calls, loud=True)
    assert (new, repeated, len(calls)) == (True, False, 1)
    assert again == first == read_step(tmp_path / "out")
    assert first.figures == {"letters": 5}
    assert first.outputs["result.txt"]["bytes"] == 5
    assert first.versions["python"].startswith("3.")
    assert first.hardware["cores"] == os.cpu_count()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["result.txt", "step.json"]
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("change", ["argument", "input", "missing output", "resized output", "other output"])
def test_a_step_is_done_again_when_something_changed(tmp_path: Path, source: Path, change: str) -> None:
    calls: list[Path] = []
    make(tmp_path / "out", source, calls, loud=True)
    if change == "input":
        source.write_text("other")
    elif change == "missing output":
        (tmp_path / "out" / "result.txt").unlink()
    elif change == "other output":
        (tmp_path / "out" / "result.txt").write_text("HALLO")
    elif change == "resized output":
        (tmp_path / "out" / "result.txt").write_text("HE")
    record, new = make(tmp_path / "out", source, calls, loud=change != "argument")
    assert (new, len(calls)) == (True, 2)
    assert (tmp_path / "out" / "result.txt").read_text() == source.read_text().upper()
    assert record.inputs == {"source": fingerprint(source)}


def test_a_failure_leaves_the_last_good_result(tmp_path: Path, source: Path) -> None:
    make(tmp_path / "out", source, [], loud=True)

    def broken(folder: Path) -> dict[str, object]:
        (folder / "result.txt").write_text("half")
        raise UserError("no")

    with pytest.raises(UserError):
        run_step("shout", tmp_path / "out", arguments={"loud": False}, inputs={"source": source}, work=broken)
    assert (tmp_path / "out" / "result.txt").read_text() == "HELLO"
    assert read_step(tmp_path / "out").arguments == {"loud": True}


def test_a_killed_step_finds_its_checkpoints_and_others_do_not(tmp_path: Path) -> None:
    """A child is killed in the middle of its work; the next start goes on, one with other arguments begins anew."""
    program = f"""
import sys, time
from pathlib import Path
from jobs.step import run_step
def work(folder):
    marks = folder / {CHECKPOINTS!r}
    marks.mkdir(exist_ok=True)
    seen = len(list(marks.iterdir()))
    (marks / str(seen)).write_text("done")
    if seen == 0:
        print("working", flush=True)
        time.sleep(60)
    (folder / "result").write_text(str(seen))
    return {{"resumed_from": seen}}
run_step("slow", Path(sys.argv[1]), arguments={{"n": int(sys.argv[2])}}, inputs={{}}, work=work)
"""
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out), "1"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "working\n"
        child.send_signal(signal.SIGKILL)
    assert not out.exists()
    subprocess.run([sys.executable, "-c", program, str(out), "1"], cwd=ROOT, check=True, timeout=30)
    assert read_step(out).figures == {"resumed_from": 1}
    assert not (out / CHECKPOINTS).exists()


def test_checkpoints_of_other_arguments_are_not_used(tmp_path: Path) -> None:
    out = tmp_path / "out"
    partial = tmp_path / "out.partial"
    (partial / CHECKPOINTS).mkdir(parents=True)
    (partial / CHECKPOINTS / "old").write_text("old")
    (partial / "claim.json").write_text(json.dumps({"arguments": {"n": 1}}))

    def work(folder: Path) -> dict[str, object]:
        return {"found": (folder / CHECKPOINTS).exists()}

    record, _ = run_step("slow", out, arguments={"n": 2}, inputs={}, work=work)
    assert record.figures == {"found": False}


def test_a_folder_without_a_record_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not finished; run it first"):
        read_step(tmp_path)
    (tmp_path / "step.json").write_text("{")
    with pytest.raises(UserError, match="delete it and run the step again"):
        read_step(tmp_path)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.txt: no such file or folder"):
        make(tmp_path / "out", tmp_path / "nothing.txt", [])


def test_a_folders_fingerprint_follows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = fingerprint(tmp_path)
    time.sleep(0.01)
    (tmp_path / "a").write_text("1")
    assert fingerprint(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize("moment", ["before it is placed", "between the renames"])
def test_a_kill_after_the_last_byte_loses_nothing(tmp_path: Path, source: Path, moment: str) -> None:
    calls: list[Path] = []
    make(tmp_path / "out", source, calls, loud=True)
    (tmp_path / "out").rename(tmp_path / "out.partial")
    if moment == "before it is placed":
        (tmp_path / "out.partial" / CHECKPOINTS).mkdir()
        (tmp_path / "out.partial" / "claim.json").write_text("{}")
    else:
        (tmp_path / "out.old").mkdir()
        (tmp_path / "out.old" / "step.json").write_text((tmp_path / "out.partial" / "step.json").read_text())
    record, new = make(tmp_path / "out", source, calls, loud=True)
    assert (new, len(calls)) == (True, 1)
    assert record.outputs["result.txt"]["bytes"] == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source.txt"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["result.txt", "step.json"]


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    def work(folder: Path) -> dict[str, object]:
        with pytest.raises(UserError, match="another process is at work in it"):
            run_step("slow", tmp_path / "out", arguments={}, inputs={}, work=lambda _: {})
        return {"first": True}

    record, _ = run_step("slow", tmp_path / "out", arguments={}, inputs={}, work=work)
    assert record.figures == {"first": True}


def test_a_full_disk_and_a_missing_right_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.errors import run_main

    for fault, words in (
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y: no space left"),
        (RuntimeError("PytorchStreamWriter failed: No space left on device"), "the disk: no space left"),
        (PermissionError(errno.EACCES, "denied", "/x/z"), "/x/z: no right to read or write it"),
    ):

        def main(fault: Exception = fault) -> None:
            raise fault

        with pytest.raises(SystemExit) as end:
            run_main(main)
        assert end.value.code == 2
        assert words in capsys.readouterr().err


def test_what_no_step_made_is_never_written_over(tmp_path: Path, source: Path) -> None:
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").write_text("precious")
    for out, words in (
        (thesis, "holds files that no step made"),
        (source, "a file stands there"),
        (tmp_path, "holds files that no step made"),
        (Path(), "name a new folder"),
        (source / "below", "cannot be made"),
    ):
        with pytest.raises(UserError, match=words):
            make(out, source, [])
    assert (thesis / "chapter1.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.txt", "thesis"]


def test_a_step_does_not_write_over_what_it_reads(tmp_path: Path, source: Path) -> None:
    make(tmp_path / "first", source, [])
    with pytest.raises(UserError, match="is or holds the source that the step reads"):
        make(tmp_path / "first", tmp_path / "first" / "result.txt", [], other=True)
    assert (tmp_path / "first" / "result.txt").read_text() == "HELLO"


def test_a_refusal_leaves_nothing_behind(tmp_path: Path, source: Path) -> None:
    def refuse(folder: Path) -> dict[str, object]:
        (folder / "half").write_text("half")
        raise UserError("no")

    with pytest.raises(UserError, match="no"):
        run_step("shout", tmp_path / "out", arguments={}, inputs={}, work=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["source.txt"]


def test_another_steps_result_is_not_written_over(tmp_path: Path) -> None:
    run_step("first", tmp_path / "out", arguments={}, inputs={}, work=lambda folder: {})
    with pytest.raises(UserError, match="holds the result of the step first, which would be lost"):
        run_step("second", tmp_path / "out", arguments={}, inputs={}, work=lambda folder: {})
    assert read_step(tmp_path / "out").step == "first"


def test_a_link_to_another_disk_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for number in (1, 2):
        run_step("s", tmp_path / "out", arguments={"n": number}, inputs={}, work=lambda folder: {})
        assert (tmp_path / "out").is_symlink()
        assert read_step(tmp_path / "disk").arguments == {"n": number}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "out"]


def test_a_users_folder_beside_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "out.old").mkdir()
    (tmp_path / "out.old" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"out\.old: holds files that no step made"):
        run_step("s", tmp_path / "out", arguments={}, inputs={}, work=lambda folder: pytest.fail("it worked"))
