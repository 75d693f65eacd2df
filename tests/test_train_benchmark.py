"""The training benchmark's own honesty: every side reads the same rows, and the table says what was measured."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import train_recipes as bench
from benchmarks.train_recipes import Setting
from benchmarks.train_sides import Taken, Work, run
from jobs.config import Train
from jobs.estimate import training_flops
from tests.test_preflight import QWEN_3B
from tests.tiny import tiny_model

STEPS = 2


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("bench")
    tiny_model(folder)
    rows = bench.draw(str(bench.ARC), 2 * (STEPS + 1))
    return Work(model=str(folder), rows=rows, batch=2, max_length=256, device="cpu")


@pytest.fixture(scope="module")
def taken(work: Work, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taken]:
    return {side: run(side, work, tmp_path_factory.mktemp(side)) for side in ("seed", "trl", "ours")}


def made(tokens: int, wall: float, cpu: float, *losses: float, rate: float = 0.0) -> Taken:
    return Taken(
        tokens=tokens,
        answer_tokens=tokens // 10,
        steps=3,
        wall_seconds=wall,
        cpu_seconds=cpu,
        peak_bytes=2 * 10**9,
        losses=losses or (2.0, 1.0),
        matrix_rate=rate,
    )


def test_every_side_takes_the_same_steps_on_the_same_rows(taken: dict[str, Taken], work: Work) -> None:
    assert {side: found.steps for side, found in taken.items()} == dict.fromkeys(taken, STEPS)
    ours = taken["ours"].tokens
    answers = taken["ours"].answer_tokens / ours
    assert 0 < answers < 0.5
    for side in ("seed", "trl"):  # rows in another order, each with the line's end that the template puts after it
        assert taken[side].tokens == pytest.approx(ours, rel=0.15)
    assert max(found.tokens for found in taken.values()) < 0.9 * STEPS * work.batch * work.max_length  # no padding
    assert all(bench.finite(found) and len(found.losses) == STEPS + 1 for found in taken.values())


def test_rows_are_drawn_again_where_they_are_few() -> None:
    rows = bench.draw(str(bench.ARC), 500)
    assert len(rows) == 500
    assert rows[0] in rows[1:]
    assert [turn["role"] for turn in rows[0][0] + rows[0][1]] == ["system", "user", "assistant"]


def test_the_table_tells_medians_and_what_lies_between() -> None:
    found = [
        {"seed": made(100, 20.0, 40.0), "ours": made(100, 2.0, 4.0)},
        {"seed": made(100, 30.0, 40.0), "ours": made(100, 4.0, 5.0)},
    ]
    output = io.StringIO()
    Console(file=output, width=200).print(bench.table(found, Setting()))
    last = output.getvalue().splitlines()[-2].split(bench.NAMES["seed"])[1].split()
    assert last == "3 100 25.0 40.0 4 2.5 9.00 (8.00–10.00) 2.00 2.000 to 1.000".split()


def test_goals_stand_with_what_came_of_them() -> None:
    found = [{"seed": made(100, 20.0, 40.0), "trl": made(100, 3.0, 5.0), "ours": made(100, 2.0, 4.0)}]
    seed, trl = bench.goals(found, Setting())
    assert seed.endswith("10.00 times the tokens a CPU second; 5.0 is the goal: met")
    assert trl.endswith("1.25 times the tokens a CPU second; 1.3 is the goal: MISSED")
    assert not bench.goals(found, Setting("cuda", "3b", "4bit"))


def test_on_a_gpu_utilisation_is_of_the_rate_measured_beside_it() -> None:
    head = 4 * 151_936 * 2048  # of a token: forward and backward
    assert sum(bench.FLOP["3b"]) == pytest.approx(training_flops(QWEN_3B, [512], Train(epochs=1)) / 512, rel=2e-3)
    assert bench.FLOP["3b"][1] == pytest.approx(head, rel=5e-3)
    mine = [made(1000, 1.0, 1.0, rate=4 * (11.50e12 + 0.124e12))]  # a tenth of the tokens are answers
    assert bench.utilisation(mine, "3b") == "25 %"
    assert bench.utilisation(mine, "small") == "–"
    assert Setting("cuda", "3b", "4bit").sides == ("ours", "packed")


def test_a_loss_that_is_no_number_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> bench.Round:
        return {side: made(1, 1.0, 1.0, 2.0, float("nan") if side == "trl" else 1.0) for side in bench.NAMES}

    monkeypatch.setattr(bench, "save_tokenizer", lambda *_: None)
    monkeypatch.setattr(bench, "measure", lambda *_: None)
    monkeypatch.setattr(bench, "run", broken)
    with pytest.raises(SystemExit, match=r"train: a loss is no number: trl sft, its defaults"):
        bench.main(Setting(rounds=1))


def test_the_model_has_the_shape_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setitem(bench.SHAPES, "tiny", bench.Shape(2, 64, 128, 4, 2, vocabulary=512))
    bench.make_model(str(tmp_path), "tiny", "cpu")
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == 512 * 64 + 2 * (64 * 64 * 2 + 2 * 64 * 32 + 64 + 64 + 3 * 64 * 128 + 128) + 64
