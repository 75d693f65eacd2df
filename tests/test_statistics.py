"""Statistics against statsmodels and against values worked out elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.contingency_tables import mcnemar as peer_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from qa.statistics import (
    PairedDifference,
    clustered_bootstrap,
    holm,
    mcnemar,
    paired_difference,
    smallest_detectable,
    verdict,
    verdict_among,
    wilson,
)


@pytest.mark.parametrize(("correct", "n"), [(0, 5), (5, 5), (1, 3), (90, 112), (938, 1172), (2138, 2376)])
def test_wilson_equals_statsmodels(correct: int, n: int) -> None:
    assert wilson(correct, n) == pytest.approx(proportion_confint(correct, n, method="wilson"), abs=1e-12)


def test_wilson_at_arc_challenge_is_plus_minus_2_29_points() -> None:
    low, high = wilson(938, 1172)
    assert (high - low) / 2 == pytest.approx(0.0229, abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(correct, n)


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (10, 3), (3, 10), (7, 7), (0, 12), (130, 90)])
def test_exact_mcnemar_equals_statsmodels(gained: int, lost: int) -> None:
    peer = peer_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue
    assert mcnemar(gained, lost)[1] == pytest.approx(peer, abs=1e-12)


def test_mid_p_is_exact_less_the_point_probability() -> None:
    assert mcnemar(10, 3) == pytest.approx((2 * 378 / 2**13 - 286 / 2**13, 2 * 378 / 2**13))
    assert mcnemar(0, 0) == (1.0, 1.0)
    assert mcnemar(4, 4) == pytest.approx((1 - 70 / 2**9, 1.0))


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_holm_equals_statsmodels(count: int) -> None:
    values = list(np.random.default_rng(count).random(count) ** 4)
    values[-1] = values[0]  # equal ones stay equal
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1])


def test_holm_by_hand() -> None:
    assert holm([0.03, 0.01, 0.5, 0.04]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("share", "n"), [(0.04, 783), (0.06, 1175), (0.10, 1960), (0.20, 3922)])
def test_two_points_are_detectable_in_the_known_numbers_of_questions(share: float, n: int) -> None:
    assert smallest_detectable(n, round(share * n)) == pytest.approx(0.02, abs=2e-4)


def test_more_questions_show_less_and_clusters_show_more() -> None:
    assert smallest_detectable(400, 40) < smallest_detectable(100, 10)
    assert smallest_detectable(400, 40, design_effect=2) > smallest_detectable(400, 40)
    assert smallest_detectable(2, 1) == 1.0


def power_of_the_mid_p_test(n: int, discordant: float, difference: float) -> float:
    """Exact power at 5 % where a question is discordant with the one probability, gained less lost the other."""
    total = 0.0
    for turned in range(n + 1):
        happens = binom.pmf(turned, n, discordant)
        if happens > 1e-9:
            gained = np.arange(turned + 1)
            shown = [mcnemar(int(k), turned - int(k))[0] < 0.05 for k in gained]
            total += happens * binom.pmf(gained, turned, (1 + difference / discordant) / 2)[shown].sum()
    return total


@pytest.mark.parametrize(
    ("n", "discordant", "points"),
    [(1172, 0, 0.67), (1172, 3, 0.67), (60, 4, 12.6), (40, 2, 18.5), (60, 25, 22.9), (783, 31, 2.0)],
)
def test_what_is_called_detectable_is_found_four_times_in_five(n: int, discordant: int, points: float) -> None:
    """Also where fewer answers changed than such a difference would have to turn."""
    found = smallest_detectable(n, discordant)
    assert 100 * found == pytest.approx(points, abs=0.06)
    share = (discordant or 3) / n
    assert power_of_the_mid_p_test(n, max(share, found), found) > 0.78
    assert power_of_the_mid_p_test(n, max(share, found / 2), found / 2) < 0.5


@pytest.mark.parametrize(
    ("n", "discordant", "effect"), [(3830, 161, 997.0170652188608), (844, 546, 219.70819921062272)]
)
def test_the_root_survives_rounding_where_documents_leave_hardly_a_question(
    n: int, discordant: int, effect: float
) -> None:
    """A difference of nearly all questions, at the very least of those that changed."""
    found = smallest_detectable(n, discordant, design_effect=effect, power=0.99 if n == 3830 else 0.8)
    assert discordant / n < found <= 1


def test_bootstrap_by_document_is_wider_where_documents_agree() -> None:
    differences = np.repeat(np.random.default_rng(0).choice([-1, 0, 1], size=60), 5)
    whole = clustered_bootstrap(differences, np.repeat(np.arange(60), 5), seed=1)
    single = clustered_bootstrap(differences, np.arange(300), seed=1)
    assert whole.std() > 1.8 * single.std()  # the design effect of 5 equal answers is 5, its root 2.2
    assert single.std() == pytest.approx(differences.std() / np.sqrt(300), rel=0.05)


def test_paired_difference_counts_and_repeats() -> None:
    ours, theirs = [True] * 70 + [False] * 30, [True] * 40 + [False] * 30 + [True] * 10 + [False] * 20
    once = paired_difference(ours, theirs, range(100), seed=3)
    assert (once.gained, once.lost, once.n, once.documents) == (30, 10, 100, 100)
    assert paired_difference(ours, theirs, [n // 7 for n in range(100)], seed=3).documents == 15
    assert once.value == pytest.approx(0.2)
    assert once.low < 0.2 < once.high
    assert once == paired_difference(ours, theirs, range(100), seed=3)
    mirrored = paired_difference(theirs, ours, range(100), seed=3)
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-once.value, -once.high, -once.low))


def test_paired_difference_refuses_other_rows() -> None:
    with pytest.raises(ValueError, match="same rows"):
        paired_difference([True], [True, False], [1], seed=0)


def test_verdict_says_better_worse_or_what_could_have_been_shown() -> None:
    better = PairedDifference(0.031, 0.009, 0.052, 0.006, 0.007, 50, 20, 1000, 400, 0.02)
    assert verdict(better) == "better by 3.1 points (95 % 0.9 to 5.2, p = 0.006)"
    worse = PairedDifference(-0.031, -0.052, -0.009, 0.0002, 0.0003, 20, 50, 1000, 400, 0.02)
    assert verdict(worse) == "worse by 3.1 points (95 % -5.2 to -0.9, p < 0.001)"
    unclear = PairedDifference(0.01, -0.012, 0.03, 0.2, 0.3, 20, 15, 1000, 400, 0.032)
    assert verdict(unclear).startswith("no difference shown (1.0 points")
    assert verdict(unclear).endswith("this set can only show 3.2 points or more")


def test_verdict_needs_interval_and_test_to_agree() -> None:
    by_documents_alone_unclear = PairedDifference(0.03, -0.001, 0.06, 0.01, 0.02, 50, 20, 1000, 400, 0.05)
    assert verdict(by_documents_alone_unclear).startswith("no difference shown")


@pytest.mark.parametrize(
    ("n", "documents", "sentence"),
    [
        (10, 1, "no difference shown (60.0 points); 1 document is too few to tell"),
        (60, 8, "no difference shown (60.0 points); 8 documents are too few to tell"),
        (60, 9, "no difference shown (60.0 points); 9 documents are too few to tell"),
        (60, 10, "better by 60.0 points (95 % "),
        (9, 9, "better by 55.6 points (95 % 22.2 to 88.9, p = 0.031)"),  # a document a question: p and interval hold
    ],
)
def test_a_handful_of_documents_shows_nothing_however_many_their_questions(
    n: int, documents: int, sentence: str
) -> None:
    right = [number < round(0.6 * n) for number in range(n)]
    found = paired_difference(right, [False] * n, [number % documents for number in range(n)], seed=0)
    assert found.documents == documents
    assert verdict(found).startswith(sentence)


def test_where_nothing_changed_there_is_no_interval_to_quote() -> None:
    same = paired_difference([True, False] * 200, [True, False] * 200, range(400), seed=0)
    assert verdict(same) == "no difference shown (no answer changed); this set can only show 2.0 points or more"
    few = paired_difference([True, False] * 200, [True, False] * 200, [n % 3 for n in range(400)], seed=0)
    assert verdict(few) == "no difference shown (no answer changed); 3 documents are too few to tell"


def test_a_verdict_that_is_quoted_alone_says_where_it_does_not_stand_among_the_others() -> None:
    better, none = "better by 3.1 points (95 % 0.9 to 5.2, p = 0.006)", "no difference shown (…)"
    assert verdict_among(better, 0.049, 21) == better
    assert verdict_among(better, 0.126, 21) == f"{better} (Holm's p = 0.126: one of 21 comparisons)"
    assert verdict_among(none, 1.0, 21) == none
