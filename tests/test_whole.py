"""A checkpoint counts where every file of it is as it was saved, for the same training; the last two are kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.training.whole import KEPT, WHOLE, code_sha256, newest_checkpoint, newest_marked, remove_older, step_of
from tests.training_runs import fake_checkpoint

CLAIM = {"configuration": "c", "data set": "d", "base": "b", "code": "e"}


def fake(folder: Path, step: int, claim: Mapping[str, str] = CLAIM) -> Path:
    return fake_checkpoint(folder, step, claim)


def steps_in(folder: Path) -> list[int]:
    return sorted(map(step_of, folder.iterdir()))


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda at: (at / WHOLE).unlink(), "whole.json is missing"),
        (lambda at: (at / WHOLE).write_text('{"schema": 1'), "whole.json is missing"),
        (lambda at: (at / "weights").unlink(), "weights is missing"),
        (lambda at: _append(at / "best" / "weights"), "best/weights is not what was saved"),
        (lambda at: (at / "weights").write_text("weights 7xx"), "weights is not what was saved"),
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


def test_the_newest_mark_counts_by_number(tmp_path: Path) -> None:
    assert newest_marked(tmp_path / "none") is None
    for step in (9, 10):
        fake(tmp_path, step)
    (tmp_path / "checkpoint-11").mkdir()
    assert newest_marked(tmp_path) == tmp_path / "checkpoint-10"


def test_comments_are_no_part_of_the_code(tmp_path: Path) -> None:
    module = ModuleType("module")
    module.__file__ = str(tmp_path / "module.py")

    def sha256(text: str) -> str:
        (tmp_path / "module.py").write_text(text)
        return code_sha256(module)

    bare = sha256("def f(x):\n    return x + 1\n")
    assert sha256('"""Of f."""\n\ndef f(x):\n    """One more."""\n    return x + 1  # not 2\n') == bare
    assert sha256("def f(x):\n    return x + 2\n") != bare
