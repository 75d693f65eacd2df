"""The export's benchmark: both sides are asked the same, what they made is compared, and the table says what was."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from benchmarks import __main__ as command
from benchmarks import export_against_llama_cpp as bench
from benchmarks.export_report import Cost, Round, Stage, limits, missed, table
from benchmarks.paired import Usage, measure, measure_command
from benchmarks.random_model import BIASED, Shape, make_model
from benchmarks.same_tensors import Sameness, compare_tensors
from jobs.errors import UserError
from tests.tiny import tiny_gguf, tiny_model, tiny_tokenizer

SMALL = Shape(layers=1, width=256, inner=512)
EQUAL = Sameness(26, 26)


def cost(wall: float, cpu: float, peak: float, sync: float = 0.0, quantizer: float = 0.0) -> Cost:
    """Seconds, and gigabytes of memory; a gigabyte is written."""
    return Cost(Usage(cpu, int(peak * 1e9), wall, int(peak * 1e9) // 2, 10**9), sync, quantizer)


def found(same: Sameness = EQUAL, faster: float = 1.0) -> Round:
    ours, theirs = cost(20 / faster, 15, 0.3, sync=1.0), cost(40, 30, 6.0, sync=2.0)
    last = cost(100 / faster, 180, 0.75, quantizer=80.0)
    stages = [Stage(name, ours, theirs, EQUAL) for name in ("merge", "F16")]
    return Round((*stages, Stage("Q4_K_M", last, cost(100, 180, 2.0), same)))


def shown(rounds: list[Round]) -> list[list[str]]:
    """The cells of every row; the first word of a row is the stage, where it is named."""
    output = io.StringIO()
    Console(file=output, width=200).print(table(rounds))
    return [line.split("  ") for line in output.getvalue().splitlines()[1:]]


def row(rounds: list[Round], stage: int, measure: int) -> list[str]:
    return [cell.strip() for cell in shown(rounds)[6 * stage + measure] if cell.strip()]


def test_a_process_is_measured_from_its_start_to_its_end(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\nheld = bytearray(os.urandom(1)) * 300_000_000\ntime.sleep(0.3)\nprint('here')\n"
        "with open(sys.argv[1], 'wb') as file:\n    file.write(held[:40_000_000])\n    os.fsync(file.fileno())\n"
    )
    usage = measure_command([sys.executable, "-c", code, str(tmp_path / "made")], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "here\n"
    assert usage.cpu_seconds > 0
    assert usage.wall_seconds > 0.3
    assert 300e6 < usage.anonymous_bytes <= usage.peak_bytes < 400e6
    assert 40e6 <= usage.written_bytes < 60e6


def test_a_process_that_fails_ends_the_benchmark_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match="ValueError: no such thing"):
        measure("raise ValueError('no such thing')")


def test_the_random_model_is_whole_and_its_adapter_is_for_it(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    base.mkdir()
    make_model(base, adapter, SMALL)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    assert model.dtype == torch.bfloat16
    rest = sum(each.numel() for name, each in model.named_parameters() if "norm" in name or "bias" in name)
    assert model.num_parameters() - rest == SMALL.weights
    assert len(BIASED) == sum("bias" in name for name, _ in model.named_parameters())
    before = {name: each.clone() for name, each in model.named_parameters()}
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    changed = {name for name, each in merged.named_parameters() if not torch.equal(each, before[name])}
    assert changed == {f"model.layers.0.{name}.weight" for name in SMALL.linear}
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_the_whole_shape_is_that_of_the_3b() -> None:
    assert Shape().weights == pytest.approx(3.086e9, rel=1e-3)
    assert bench.needed_bytes(36, made=False) == pytest.approx(31.9e9, rel=0.01)


def test_tensors_are_compared_by_name_type_shape_and_bytes(tmp_path: Path) -> None:
    base = {"a": torch.ones(4, 2), "b": torch.zeros(3)}
    others = {
        "equal": base,
        "value": base | {"b": torch.tensor([0.0, 0.0, -0.0])},
        "shape": base | {"a": torch.ones(2, 4)},
        "type": base | {"b": torch.zeros(3, dtype=torch.int32)},
        "missing": {"a": base["a"]},
    }
    for name, tensors in {"base": base, **others}.items():
        (tmp_path / name).mkdir()
        for key, tensor in tensors.items():
            save_file({key: tensor}, tmp_path / name / f"{key}.safetensors")
    said = {name: compare_tensors(tmp_path / "base", tmp_path / name) for name in others}
    assert said == {
        "equal": Sameness(2, 2),
        "value": Sameness(1, 2, "b"),
        "shape": Sameness(1, 2, "a"),
        "type": Sameness(1, 2, "b"),
        "missing": Sameness(1, 2, "b"),
    }


def test_gguf_files_are_compared_too(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        tiny_model(tmp_path / name, seed=seed)
    one = tiny_gguf(tmp_path / "one", tmp_path / "one.gguf")
    assert compare_tensors(one, tiny_gguf(tmp_path / "one", tmp_path / "again.gguf")) == Sameness(26, 26)
    same = compare_tensors(one, tiny_gguf(tmp_path / "other", tmp_path / "other.gguf"))
    assert (same.total, same.first) == (26, "blk.0.attn_k.weight")
    assert same.equal == 11  # norms are ones and biases zeros in both


def test_the_table_shows_every_stage_and_all_three() -> None:
    rounds = [found()]
    assert row(rounds, 0, 0) == ["merge", "wall s", "40.0", "20.0", "0.50", "26 of 26"]
    assert row(rounds, 0, 1) == ["wall s until on disk", "42.0", "21.0", "0.50"]
    assert row(rounds, 3, 0) == ["all three", "wall s", "180.0", "140.0", "0.78"]
    assert row(rounds, 3, 3) == ["peak MB", "6,000.0", "750.0", "0.12"]  # of the stages the largest, not the sum
    assert row(rounds, 3, 5) == ["MB written", "3,000.0", "3,000.0", "1.00"]


def test_rounds_are_summed_up_by_medians_and_the_fewest_equal_tensors() -> None:
    rounds = [found(), found(faster=2.0), found(Sameness(24, 26, "blk.0.attn_q.weight"), faster=4.0)]
    assert row(rounds, 2, 0) == ["Q4_K_M", "wall s", "100.0", "50.0", "0.50 (0.25–1.00)", "24 of 26"]
    assert missed(rounds) == "Q4_K_M: 2 of 26 tensors differ, first blk.0.attn_q.weight"
    assert missed(rounds[:2]) == ""


def test_the_limits_and_the_goals_are_named() -> None:
    shares, *goals = limits([found()], bandwidth=100e6)
    assert shares == (
        "ours takes 142 s until all is on disk; writing its 3.0 GB at the 100 MB/s that this disk was measured to take "
        "is 30 s (21%), in part while it computes (reading is not counted); llama.cpp's quantiser is 80 s (56%)"
    )
    assert goals == [
        "all three, peak MB: 0.12 of theirs; at most 0.25 is the goal: met",
        "all three, wall s: 0.78 of theirs; at most 1.00 is the goal: met",
        "all three, wall s until on disk: 0.77 of theirs; at most 1.00 is the goal: met",
        "merge, wall s: 0.50 of theirs; at most 1.00 is the goal: met",
        "F16, CPU s: 0.50 of theirs; at most 1.00 is the goal: met",
        "F16, peak MB: 0.05 of theirs; at most 1.00 is the goal: met",
        "merge, peak MB: 300; at most 1,500 is the goal: met",
    ]


def test_a_stage_that_misses_its_goal_is_named_though_all_three_meet_theirs() -> None:
    good = found()
    slow_merge = Stage("merge", cost(41, 15, 1.6), cost(40, 30, 6.5), EQUAL)
    costly_half = Stage("F16", cost(20, 31, 6.1), cost(40, 30, 6.0), EQUAL)
    bad = Round((slow_merge, costly_half, good.stages[2]))
    wrong = [line for line in limits([bad], bandwidth=100e6) if line.endswith("MISSED")]
    assert [line.partition(";")[0] for line in wrong] == [
        *("all three, peak MB: 0.94 of theirs", "merge, wall s: 1.02 of theirs", "F16, CPU s: 1.03 of theirs"),
        *("F16, peak MB: 1.02 of theirs", "merge, peak MB: 1,600"),
    ]
    slow = limits([found(faster=0.25)], bandwidth=100e6)
    assert slow[2] == "all three, wall s: 3.11 of theirs; at most 1.00 is the goal: MISSED"


def test_both_sides_make_the_same_of_a_small_model(
    llama_cpp_source: Path, llama_tools: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    for name, value in {"LLAMA_CPP": llama_tools.parent, "PROBE": 1 << 26}.items():
        monkeypatch.setattr(bench, name, value)
    for name in ("base", "tokenizer"):
        (tmp_path / name).mkdir()
    tiny_tokenizer(tmp_path / "tokenizer")
    bench.save_tokenizer(str(tmp_path / "tokenizer"), tmp_path / "base")
    make_model(tmp_path / "base", tmp_path / "adapter", SMALL)
    bench.main(layers=1, keep=tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("14 of 14") == 3
    assert "round 1 of 1: Q4_K_M, ours" in printed
    assert "making a random model" not in printed  # the kept one was found
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter", "tokenizer"}
    with pytest.raises(UserError, match="its model has 1 layers, not 2; name another folder"):
        bench.main(layers=2, keep=tmp_path)


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(bench, "LLAMA_CPP", tmp_path)
    with pytest.raises(UserError, match=r"convert_hf_to_gguf\.py: not there; run `make llama-tools`"):
        bench.main()
    with pytest.raises(UserError, match=f"--tokenizer {tmp_path}: .*name a folder with Qwen2.5's tokenizer"):
        bench.save_tokenizer(str(tmp_path), tmp_path / "copy")


@pytest.mark.parametrize("arguments", [["export", "--layers", "0"], ["export", "--rounds", "two"], ["merge"]])
def test_a_wrong_command_line_is_refused(arguments: list[str], monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    assert arguments[-1] in capsys.readouterr().err
