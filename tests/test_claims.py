"""Checkpoints serve the arguments and inputs they were begun with; what is begun anew is told."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from jobs.errors import UserError
from jobs.step import CHECKPOINTS, StepRecord, run_step


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("hello")
    return path


def begin(out: Path, source: Path, **arguments: object) -> None:
    """A start that fails after its first checkpoint."""

    def work(folder: Path) -> dict[str, object]:
        (folder / CHECKPOINTS).mkdir(exist_ok=True)
        (folder / CHECKPOINTS / "first").write_text("half")
        raise UserError("ended")

    with pytest.raises(UserError, match="ended"):
        run_step("slow", out, arguments=arguments, inputs={"source": source}, work=work)


def test_what_is_begun_anew_is_told_with_its_reason(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    begin(out, source, train={"epochs": 1, "rank": 8}, seed=1)
    begin(out, source, train={"epochs": 1, "rank": 8}, seed=1)
    assert capsys.readouterr().err == ""
    source.write_text("other")
    begin(out, source, train={"epochs": 2, "rank": 8}, seed=1)
    assert capsys.readouterr().err == f"{out}: begun anew: it was begun with another train.epochs, source\n"


@pytest.mark.parametrize("begun_with", [1, 2])
def test_a_claim_that_cannot_be_written_costs_no_checkpoint(
    tmp_path: Path, source: Path, begun_with: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    begin(out, source, n=begun_with)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def cut_short(path: Path, *_: object, **__: object) -> None:
        path.open("w").close()
        full()

    def start() -> StepRecord:
        return run_step(
            "slow",
            out,
            arguments={"n": 1},
            inputs={"source": source},
            work=lambda folder: {"found": (folder / CHECKPOINTS / "first").read_text()},
            goes_on=lambda folder, claim: json.loads((folder / "claim.json").read_text())["arguments"]["n"] in (1, 2),
        )[0]

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr(Path, "write_text", cut_short)
    with pytest.raises(OSError, match="No space left"):
        start()
    assert (tmp_path / "out.partial" / CHECKPOINTS / "first").read_text() == "half"
    monkeypatch.undo()
    assert start().figures == {"found": "half"}
    assert sorted(path.name for path in out.iterdir()) == ["step.json"]
