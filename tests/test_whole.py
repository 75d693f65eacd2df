"""A checkpoint counts where every file of it is as it was saved, for the same training; the last two are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.training.whole import KEPT, WHOLE, mark_whole, newest_checkpoint, remove_older, step_of

CLAIM = {"configuration": "c", "data set": "d", "base": "b", "code": "e"}


def fake(folder: Path, step: int, claim: dict[str, str] = CLAIM) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "best").mkdir(parents=True)
    for name in ("a.bin", "best/b.bin"):
        (checkpoint / name).write_text(f"{name} {step}")
    mark_whole(checkpoint, step, claim)
    return checkpoint


def steps_in(folder: Path) -> list[int]:
    return sorted(map(step_of, folder.iterdir()))


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / WHOLE).unlink(), "whole.json is missing"),
        (lambda at: (at / WHOLE).write_text('{"schema": 1'), "whole.json is missing"),
        (lambda at: (at / "a.bin").unlink(), "a.bin is missing"),
        (lambda at: _append(at / "best" / "b.bin"), "best/b.bin is not what was saved"),
        (lambda at: (at / "a.bin").write_text("a.bin 7x"), "a.bin is not what was saved"),
        (lambda at: (at / "c.bin").write_text(""), "c.bin was not saved with it"),
    ],
)
def test_a_torn_checkpoint_is_named_and_removed_and_the_older_taken(
    damage: Any, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = fake(tmp_path, 9), fake(tmp_path, 12)
    damage(newer)
    assert newest_checkpoint(tmp_path, CLAIM) == older
    assert capsys.readouterr().err == f"{newer}: torn ({words}); passed over\n"
    assert not newer.exists()


@pytest.mark.parametrize("part", ["configuration", "data set", "base", "code"])
def test_a_checkpoint_of_another_training_is_refused_by_what_differs(part: str, tmp_path: Path) -> None:
    checkpoint = fake(tmp_path, 9, {**CLAIM, part: "other"})
    with pytest.raises(UserError, match=f"checkpoint-9: is of a training with another {part}; delete it"):
        newest_checkpoint(tmp_path, CLAIM)
    assert checkpoint.is_dir()
    assert newest_checkpoint(tmp_path / "none", CLAIM) is None


def test_the_last_two_are_kept_and_what_is_being_read(tmp_path: Path) -> None:
    assert KEPT == 2
    for step in (3, 6, 9, 12):
        fake(tmp_path, step)
    remove_older(tmp_path, tmp_path / "checkpoint-3")
    assert steps_in(tmp_path) == [
        3,
        9,
        12,
    ]  # by number: 12 is newer than 9
    remove_older(tmp_path, None)
    assert steps_in(tmp_path) == [9, 12]
