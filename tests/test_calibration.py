"""Calibration against scikit-learn, against values worked out by hand, and against what sampling alone gives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from qa.calibration import calibrate, option_shares

Drawn = tuple[list[tuple[float, ...]], list[int]]


def drawn(n: int, *, sharper: float = 1.0, options: int = 4, seed: int = 0) -> Drawn:
    """Scores and right options of a model whose probabilities are true; `sharper` makes it too sure of them."""
    random = np.random.default_rng(seed)
    logprobs = random.normal(-4, 1.5, (n, options))
    gold = [int(random.choice(options, p=option_shares(row))) for row in logprobs]
    return [tuple(map(float, row * sharper)) for row in logprobs], gold


def test_shares_are_a_softmax_also_of_very_unlikely_options() -> None:
    assert option_shares([-1.0, -1.0]) == pytest.approx([0.5, 0.5])
    assert option_shares([-900.0, -900.0 + np.log(3)]) == pytest.approx([0.25, 0.75])
    assert option_shares([-1e5, 0.0]).sum() == 1


def test_by_hand() -> None:
    """Confidence 0.75 in each of four answers, three of them right: no error; and a quarter of it with two."""
    rows, sure = [(0.0, float(np.log(3)))] * 4, [1, 1, 1, 0]
    found = calibrate(rows, sure, range(4), seed=1)
    assert (found.n, len(found.bins), found.bins[0].n) == (4, 1, 4)
    assert found.bins[0].confidence == pytest.approx(0.75)
    assert found.bins[0].accuracy == 0.75
    assert found.ece == pytest.approx(0)
    assert found.brier == pytest.approx((3 * 2 * 0.25**2 + 2 * 0.75**2) / 4)
    assert calibrate(rows, [1, 1, 0, 0], range(4), seed=1).ece == pytest.approx(0.25)


@pytest.mark.parametrize(("n", "bins"), [(9, 1), (19, 1), (20, 2), (149, 14), (150, 15), (3548, 15)])
def test_bins_hold_equally_many_and_at_least_ten(n: int, bins: int) -> None:
    sizes = [each.n for each in calibrate(*drawn(n), range(n), seed=0).bins]
    assert (len(sizes), sum(sizes)) == (bins, n)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n", [150, 600, 1500])
def test_bins_and_error_are_scikit_learns(n: int) -> None:
    logprobs, gold = drawn(n, sharper=1.7)
    shares = np.array([option_shares(row) for row in logprobs])
    right = shares.argmax(axis=1) == gold
    accuracy, confidence = calibration_curve(right, shares.max(axis=1), n_bins=15, strategy="quantile")
    found = calibrate(logprobs, gold, range(n), seed=0)
    assert [each.confidence for each in found.bins] == pytest.approx(list(confidence))
    assert [each.accuracy for each in found.bins] == pytest.approx(list(accuracy))
    assert found.ece == pytest.approx(np.abs(accuracy - confidence).mean())
    assert found.brier == pytest.approx(brier_score_loss(gold, shares, labels=range(4), scale_by_half=False))


def test_true_probabilities_have_a_small_error_and_false_confidence_a_large_one() -> None:
    true, sure = (calibrate(*drawn(1172, sharper=factor), range(1172), seed=2) for factor in (1, 3))
    assert true.ece < 0.06
    assert sure.ece > 0.2
    assert true.brier < sure.brier
    assert 0 <= true.low < true.ece < true.high < sure.low < sure.ece < sure.high


def test_few_answers_have_an_error_by_chance_alone() -> None:
    """What the module says of a thousand answers."""
    found = [calibrate(*drawn(1000, seed=seed), range(1000), seed=0).ece for seed in range(5)]
    assert 0.03 < np.mean(found) < 0.05


def test_the_interval_repeats_and_is_wider_where_documents_agree() -> None:
    logprobs, gold = drawn(100, sharper=2)
    five = ([row for row in logprobs for _ in range(5)], [place for place in gold for _ in range(5)])
    single, whole = (calibrate(*five, clusters, seed=4) for clusters in (range(500), np.repeat(range(100), 5)))
    assert whole.high - whole.low > 1.3 * (single.high - single.low)
    assert whole == calibrate(*five, np.repeat(range(100), 5), seed=4)
    assert (whole.ece, whole.brier, whole.bins) == (single.ece, single.brier, single.bins)


def test_an_answer_is_the_first_of_equal_options() -> None:
    assert calibrate([(-1.0, -1.0, -2.0)], [0], ["d"], seed=0).bins[0].accuracy == 1
    assert calibrate([(-1.0, -1.0, -2.0)], [1], ["d"], seed=0).bins[0].accuracy == 0
