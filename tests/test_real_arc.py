"""One whole evaluation on real ARC, all 3,548 test rows, and every figure counted again from its rows.

The recount reads `items.parquet` and ARC's own files, and uses none of the project's functions.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom, norm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from jobs.config import Evaluation
from jobs.evaluate import evaluate_models
from tests.tiny import tiny_adapter, tiny_model

ARC = Path(__file__).parents[2] / "shared" / "data" / "hub" / "allenai" / "ai2_arc"
CONFIGS = {"arc_challenge": "ARC-Challenge", "arc_easy": "ARC-Easy"}
ROWS = {"arc_challenge": 1172, "arc_easy": 2376}
LETTER, CLOZE = "letter (chat)", "cloze (plain)"

pytestmark = pytest.mark.skipif(not ARC.is_dir(), reason="needs ARC in ../shared/data/hub")

Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a random base and an adapter on it, asked by letter and by cloze."""
    world = tmp_path_factory.mktemp("real-arc")
    for task, config in CONFIGS.items():
        shutil.copy(ARC / config / "test-00000-of-00001.parquet", world / f"{task}.parquet")
    tiny_model(world / "base", layers=1, width=32)
    tiny_adapter(world / "base", world / "tuned")
    settings = Evaluation(
        tasks=tuple(str(world / f"{task}.parquet") for task in CONFIGS), formulations=("letter", "cloze")
    )
    models: dict[str, Path | str] = {"base": world / "base", "tuned": world / "tuned"}
    evaluate_models(None, models, world / "report", evaluation=settings, base=world / "base", seed=5)
    return world / "report"


@pytest.fixture(scope="module")
def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def raw() -> dict[str, Row]:
    """ARC's own rows by the id that the report gives them."""
    return {
        f"{task}/{row['id']}": row
        for task, config in CONFIGS.items()
        for row in pq.read_table(ARC / config / "test-00000-of-00001.parquet").to_pylist()
    }


@pytest.fixture(scope="module")
def items(folder: Path, raw: dict[str, Row]) -> dict[tuple[str, str, str], list[Row]]:
    """The report's rows by model, task and formulation, each with places found from ARC's own row."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in pq.read_table(folder / "items.parquet").to_pylist():
        question = raw[row["row_id"]]
        labels = question["choices"]["label"]
        row |= {"labels": labels, "right": labels.index(question["answerKey"])}
        row |= {"texts": [text.strip() for text in question["choices"]["text"]], "scores": row["option_logprobs"]}
        row["summed"] = int(np.argmax(row["scores"]))
        row["normed"] = int(np.argmax(np.array(row["scores"]) / [len(text) for text in row["texts"]]))
        found.setdefault((row["model"], row["task"], row["formulation"]), []).append(row)
    return found


def hits(rows: list[Row], metric: str) -> list[bool]:
    return [row["right"] == row["normed" if metric == "acc_norm" else "summed"] for row in rows]


def test_every_row_was_asked_once(items: dict[tuple[str, str, str], list[Row]], raw: dict[str, Row]) -> None:
    ways = {(model, task, way) for model in ("base", "tuned") for task in CONFIGS for way in (LETTER, CLOZE)}
    assert items.keys() == ways
    for (_, task, _), rows in items.items():
        assert len({row["row_id"] for row in rows}) == len(rows) == ROWS[task]
    options = Counter(len(row["labels"]) for row in items["base", "arc_challenge", LETTER])
    assert options == {4: 1165, 3: 4, 5: 3}


def test_the_rows_hold_together(items: dict[tuple[str, str, str], list[Row]]) -> None:
    for (_, _, way), rows in items.items():
        for row in rows:
            picked = row["summed" if way == LETTER else "normed"]
            assert row["predicted"] == row["labels"][picked]
            assert row["gold"] == row["labels"][row["right"]]
            assert row["correct"] is (picked == row["right"])
            assert len(row["scores"]) == len(row["labels"])
            assert max(row["scores"]) < 0


def test_accuracies_and_their_intervals(metrics: dict[str, Any], items: dict[tuple[str, str, str], list[Row]]) -> None:
    for model in ("base", "tuned"):
        results = metrics["models"][model]["results"]
        assert len(results) == 2 * (1 + 2)
        for line in results:
            right = sum(hits(items[model, line["task"], line["formulation"]], line["metric"]))
            n = ROWS[line["task"]]
            assert (line["n"], line["correct"], line["value"]) == (n, right, right / n)
            assert (line["low"], line["high"]) == pytest.approx(proportion_confint(right, n, method="wilson"))


def test_paired_comparisons(metrics: dict[str, Any], items: dict[tuple[str, str, str], list[Row]]) -> None:
    lines = metrics["comparisons"]
    assert len(lines) == 4
    for line in lines:
        way = (line["task"], line["formulation"])
        theirs = {row["row_id"]: row["correct"] for row in items["base", *way]}
        pairs = Counter((row["correct"], theirs[row["row_id"]]) for row in items["tuned", *way])
        gained, lost, n = pairs[True, False], pairs[False, True], ROWS[line["task"]]
        assert (line["gained"], line["lost"], line["n"]) == (gained, lost, n)
        assert (line["right_in_both"], line["wrong_in_both"]) == (pairs[True, True], pairs[False, False])
        assert gained + lost > 20
        assert line["difference"] == pytest.approx((gained - lost) / n)
        exact, point = 2 * binom.cdf(min(gained, lost), gained + lost, 0.5), binom.pmf(gained, gained + lost, 0.5)
        assert line["p_exact"] == pytest.approx(min(1, exact))
        assert line["p"] == pytest.approx(exact - point if gained != lost else 1 - point / 2)
        deviation = ((gained + lost) / n - line["difference"] ** 2) ** 0.5 / n**0.5
        assert line["high"] - line["low"] == pytest.approx(2 * norm.ppf(0.975) * deviation, rel=0.06)
        assert line["detectable"] == pytest.approx(shown_by(n, (gained + lost) / n), rel=0.05)
    adjusted = multipletests([line["p"] for line in lines], method="holm")[1]
    assert [line["p_holm"] for line in lines] == pytest.approx(list(adjusted))


def shown_by(n: int, discordant: float) -> float:
    """The difference at which Connor's formula asks for n questions, found on a grid."""
    grid = np.linspace(1e-4, discordant**0.5 - 1e-6, 200_000)
    needed = (norm.ppf(0.975) * discordant**0.5 + norm.ppf(0.8) * np.sqrt(discordant - grid**2)) ** 2 / grid**2
    return float(grid[np.argmin(np.abs(needed - n))])


def test_places(metrics: dict[str, Any], items: dict[tuple[str, str, str], list[Row]]) -> None:
    gold = Counter(row["right"] for row in items["base", "arc_challenge", LETTER])
    assert [gold[place] for place in range(4)] == [266, 311, 310, 285]  # as counted elsewhere
    for model in ("base", "tuned"):
        for line in metrics["positions"][model]:
            rows = items[model, line["task"], LETTER]
            assert len(line["places"]) == 5
            for each in line["places"]:
                here = [row["correct"] for row in rows if row["right"] == each["place"]]
                assert (each["n"], each["correct"]) == (len(here), sum(here))
                assert each["value"] == (sum(here) / len(here) if here else None)
                assert each["offered"] == sum(len(row["labels"]) > each["place"] for row in rows)
                assert each["chosen"] == sum(row["summed"] == each["place"] for row in rows)
            assert line["spread"] == pytest.approx(np.std([each["value"] for each in line["places"][:4]]))


def test_calibration(metrics: dict[str, Any], items: dict[tuple[str, str, str], list[Row]]) -> None:
    for model in ("base", "tuned"):
        assert [line["formulation"] for line in metrics["calibration"][model]] == [LETTER, LETTER]
        for line in metrics["calibration"][model]:
            rows = items[model, line["task"], LETTER]
            shares = [np.exp(row["scores"]) / np.exp(row["scores"]).sum() for row in rows]
            sure, right = np.array([max(row) for row in shares]), np.array([row["correct"] for row in rows])
            bins = np.array_split(np.argsort(sure, kind="stable"), 15)
            assert [each["n"] for each in line["bins"]] == [len(part) for part in bins]
            gaps = [len(part) * abs(sure[part].mean() - right[part].mean()) for part in bins]
            assert line["ece"] == pytest.approx(sum(gaps) / len(rows), abs=1e-9)
            assert line["ece_low"] < line["ece"] < line["ece_high"]
            squares = [
                sum((share - (place == row["right"])) ** 2 for place, share in enumerate(each))
                for row, each in zip(rows, shares, strict=True)
            ]
            assert line["brier"] == pytest.approx(np.mean(squares))


def test_ties_and_seconds(metrics: dict[str, Any], items: dict[tuple[str, str, str], list[Row]]) -> None:
    for model in ("base", "tuned"):
        for line in metrics["ties"][model]:
            rows = items[model, line["task"], line["formulation"]]
            assert line["tied"] == sum(sorted(row["scores"])[-1] == sorted(row["scores"])[-2] for row in rows)
        for way, seconds in metrics["seconds"][model].items():
            asked = [row["seconds"] for task in CONFIGS for row in items[model, task, way]]
            assert seconds == pytest.approx(np.mean(asked))


def test_the_report_is_whole(folder: Path, metrics: dict[str, Any]) -> None:
    """A random model answers at chance: it says so, and the page shows every figure and picture."""
    assert {path.name for path in folder.iterdir()} >= {
        *("report.md", "metrics.json", "items.parquet", "accuracy.png", "flips.png", "reliability.png"),
        *("base.json", "tuned.json", "step.json"),
    }
    assert any("no better than chance" in line for line in metrics["warnings"])
    page = (folder / "report.md").read_text(encoding="utf-8")
    for line in metrics["comparisons"]:
        assert f"| {line['n']} | {line['gained']} | {line['lost']} |" in page
    assert metrics["schema"] == 2
    assert metrics["skipped"] == {"base": [], "tuned": []}
