"""The second configuration differs from the first where it says why, and nowhere else; the sweep tries what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.config_file import CONFIGS, load_config
from scripts.sweep import CLAIMS, RATE, RECIPE, VARIED, Trial, table, verdict, verdicts
from scripts.sweep import main as sweep

FIRST, TUNED = (load_config(CONFIGS / f"{name}.yaml") for name in ("qwen2.5-3b", "qwen2.5-3b-tuned"))
TEXT = (CONFIGS / "qwen2.5-3b-tuned.yaml").read_text(encoding="utf-8")
DIFFERING = {"name", "publish.name", "train.learning_rate", "train.packing", "train.warmup_ratio"}


def flat(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return found


def test_only_what_it_names_differs() -> None:
    first, tuned = flat(FIRST.model_dump()), flat(TUNED.model_dump())
    assert {key for key in tuned if tuned[key] != first[key]} == DIFFERING
    assert tuned.keys() == first.keys()


def test_every_line_that_differs_names_its_source() -> None:
    named = set(re.findall(r"^# +(QLoRA|Learns Less|Without Regret):", TEXT, re.MULTILINE)) | {"LoRA"}
    assert len(named) == 4
    for key in ("learning_rate", "warmup_ratio", "batch_size", "r", "alpha", "dropout"):
        comment = re.search(rf"^ +{key}: .*?# (.+)$", TEXT, re.MULTILINE)
        assert comment is not None, key
        assert any(source in comment[1] for source in named), key


def test_its_learning_rate_is_one_that_the_sweep_has_tried() -> None:
    times = TUNED.train.learning_rate / FIRST.train.learning_rate
    assert VARIED["the tuned values"]["learning_rate"] == pytest.approx(times * RATE)
    assert VARIED["the tuned values"]["warmup_ratio"] == TUNED.train.warmup_ratio
    assert RECIPE["lora"] == FIRST.train.lora.model_dump(include=set(RECIPE["lora"]))


@pytest.mark.parametrize("words", [["--seeds", "1"], ["--processes", "0"]])
def test_a_sweep_of_nothing_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep.py", *words])
    with pytest.raises(SystemExit, match="2"):
        sweep()
    assert "at least" in capsys.readouterr().err


def test_every_claim_compares_settings_of_the_sweep() -> None:
    compared = {name for _, *pair in CLAIMS for name in pair}
    assert compared == set(VARIED)
    folders = {Trial(name, 0, Path(), 1.0, Path()).folder for name in VARIED}
    assert len(folders) == len(VARIED)


def test_a_setting_changes_what_it_names_and_nothing_else() -> None:
    recipe = flat(Trial("the recipe", 0, Path(), 0.5, Path()).settings.model_dump())
    varied = flat(Trial("rank 64", 0, Path(), 0.5, Path()).settings.model_dump())
    assert {key: varied[key] for key in varied if varied[key] != recipe[key]} == {"lora.r": 64}


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ([0.10, 0.11, 0.09], "seen"),
        ([-0.10, -0.11, -0.09], "opposite here"),
        ([0.10, -0.01, 0.09], "not seen"),  # the seeds disagree
        ([0.30, 0.01, 0.02], "not seen"),  # they agree, by little beside their spread
    ],
)
def test_a_claim_is_seen_where_seeds_agree_and_stand_clear_of_their_spread(gains: list[float], said: str) -> None:
    assert verdict(gains) == said


def test_the_tables_show_means_spreads_and_signs() -> None:
    low, high = ([{"loss": loss + at, "accuracy": 0.5, "steps": 70.0} for loss in (1.0, 1.1)] for at in (0.0, 0.2))
    scores = {"the recipe": high, "rank 64": low}
    assert list(table(scores))[2:] == [
        "| the recipe | 70 | 1.250 ± 0.071 | 50.0% ± 0.0% |",
        "| rank 64 | 70 | 1.050 ± 0.071 | 50.0% ± 0.0% |",
    ]
    assert list(verdicts(scores))[2:] == [
        "| rank 64 learns more than rank 16 | rank 64; the recipe | -0.200 ± 0.000 | seen |"
    ]


def test_the_page_shows_claims_of_the_sweep_and_what_was_seen() -> None:
    page = (CONFIGS.parents[1] / "docs" / "rented-gpus.md").read_text(encoding="utf-8")
    rows = [
        line.strip("| ").split(" | ")
        for line in page.splitlines()
        if re.search(r"\| (not )?(seen|opposite here) \|$", line)
    ]
    assert len(rows) >= 7
    assert {(claim, *pair.split("; ")) for claim, pair, *_ in rows} <= set(CLAIMS)
    loss = dict(re.findall(r"^\| ([^|]+) \| \d+ \| (\d\.\d{3}) ±", page, re.MULTILINE))
    for _, pair, difference, _ in rows:
        better, worse = pair.split("; ")
        assert float(difference.split()[0]) == pytest.approx(float(loss[better]) - float(loss[worse]), abs=0.0011)
