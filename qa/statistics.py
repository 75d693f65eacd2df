"""Statistics of accuracies and of their differences: intervals, paired tests, what a set of questions can show.

Sources: Wilson 1927; McNemar's mid-p after Fagerland, Lydersen & Laake 2013 (doi:10.1186/1471-2288-13-91); the
clustered paired comparison after Miller 2024 (arXiv 2411.00640); the size of a paired study after Connor 1987
(doi:10.2307/2531966); several tests at once after Holm 1979. Rates and differences are shares (0.031), points (3.1)
only in sentences.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

CONFIDENCE, POWER = 0.95, 0.8
RESAMPLES = 10_000
RULE_OF_THREE = 3  # upper 95 % bound of a count that was seen zero times
FEW_DOCUMENTS = 10  # a bootstrap that draws fewer clusters gives intervals that are too narrow


@dataclass(frozen=True)
class PairedDifference:
    """One model against another on the same questions, which come from `documents`; positive is better.

    `low` and `high` bound the difference (bootstrap by document), `p` is McNemar's mid-p, `p_exact` his exact p, both
    as if questions were independent; `gained` and `lost` count the questions that only the one, only the other answered
    rightly, and `detectable` is the smallest true difference that so many questions show with 80 % power.
    """

    value: float
    low: float
    high: float
    p: float
    p_exact: float
    gained: int
    lost: int
    n: int
    documents: int
    detectable: float

    @property
    def few_documents(self) -> bool:
        """Whether several questions of a document count as one, and of such ones there are too few to tell."""
        return self.documents < min(FEW_DOCUMENTS, self.n)


def wilson(correct: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a share, as (low, high)."""
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct of {n} is no share")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == n else centre + half)


def mcnemar(gained: int, lost: int) -> tuple[float, float]:
    """McNemar's (mid-p, exact p), two-sided, of the discordant counts of a paired comparison."""
    n, k = gained + lost, min(gained, lost)
    if n == 0:
        return 1.0, 1.0
    point = math.comb(n, k) / 2**n
    if gained == lost:
        return 1 - point / 2, 1.0
    exact = 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return exact - point, min(exact, 1.0)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p of several tests, in the same order: below 0.05, a test stands among all of them."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, highest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, (len(values) - rank) * values[place])
        adjusted[place] = min(highest, 1.0)
    return adjusted


def clustered_bootstrap(
    differences: Sequence[float], clusters: Sequence[Hashable], *, seed: int, resamples: int = RESAMPLES
) -> np.ndarray:
    """Means of resamples that draw whole clusters with replacement, float64 [resamples]."""
    index = numbered(clusters)
    sums = np.bincount(index, weights=np.asarray(differences, dtype=np.float64))
    sizes = np.bincount(index)
    random, means = np.random.default_rng(seed), []
    for start in range(0, resamples, 500):  # 500 × 3,548 documents: 14 MB
        drawn = random.integers(len(sums), size=(min(500, resamples - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    return np.concatenate(means)


def numbered(clusters: Sequence[Hashable]) -> np.ndarray:
    """A number from 0 for each cluster, in the order of their first rows, int [rows]."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])


def central_interval(draws: np.ndarray) -> tuple[float, float]:
    """The bounds between which the middle 95 % of the draws lie."""
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def paired_difference(
    ours: Sequence[bool], theirs: Sequence[bool], clusters: Sequence[Hashable], *, seed: int
) -> PairedDifference:
    """Compare two models on the same questions, in the same order; `clusters` are the questions' documents."""
    if not len(ours) == len(theirs) == len(clusters) or len(ours) == 0:
        raise ValueError(f"a paired comparison needs the same rows: {len(ours)}, {len(theirs)}, {len(clusters)}")
    differences = np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)
    n, gained, lost = len(differences), int((differences > 0).sum()), int((differences < 0).sum())
    means = clustered_bootstrap(differences, clusters, seed=seed)
    low, high = central_interval(means)
    simple = differences.var() / n
    effect = max(1.0, float(means.var() / simple)) if simple > 0 else 1.0
    return PairedDifference(
        float(differences.mean()),
        float(low),
        float(high),
        *mcnemar(gained, lost),
        gained,
        lost,
        n,
        len(set(clusters)),
        smallest_detectable(n, gained + lost, design_effect=effect),
    )


def smallest_detectable(n: int, discordant: int, *, design_effect: float = 1.0, power: float = POWER) -> float:
    """Smallest true difference that n paired questions show at 5 % with `power`.

    Solves n = ((z₀.₉₇₅ √q + z_power √(q − d²)) / d)² for d, where q is the share of discordant questions, at least d:
    a difference turns that many. The design effect is the variance under clustering over that without.
    """
    share, independent = (discordant or RULE_OF_THREE) / n, n / design_effect
    alpha, beta = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), NormalDist().inv_cdf(power)
    low, high = 0.0, 1.0
    if alpha * alpha >= independent:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        turned = max(share, middle)
        missing = alpha * math.sqrt(turned) + beta * math.sqrt(turned - middle**2) - middle * math.sqrt(independent)
        low, high = (middle, high) if missing > 0 else (low, middle)
    return high


def verdict(difference: PairedDifference) -> str:
    """One sentence: better or worse where interval and test agree on it, else what the set could have shown.

    Where few documents have several questions each, neither is to be trusted, and the sentence says that alone.
    """
    if difference.gained + difference.lost == 0:
        return f"no difference shown (no answer changed); {_could_show(difference)}"
    if difference.few_documents:
        return f"no difference shown ({_points(difference.value)} points); {_could_show(difference)}"
    interval = f"95 % {_points(difference.low)} to {_points(difference.high)}, {_p(difference.p)}"
    if difference.p < 1 - CONFIDENCE and difference.low > 0:
        return f"better by {_points(difference.value)} points ({interval})"
    if difference.p < 1 - CONFIDENCE and difference.high < 0:
        return f"worse by {_points(-difference.value)} points ({interval})"
    return f"no difference shown ({_points(difference.value)} points, {interval}); {_could_show(difference)}"


def _could_show(difference: PairedDifference) -> str:
    if difference.few_documents:
        return f"{difference.documents} document{'s are' if difference.documents > 1 else ' is'} too few to tell"
    return f"this set can only show {_points(difference.detectable)} points or more"


def verdict_among(sentence: str, p_holm: float, comparisons: int) -> str:
    """A verdict as it can be quoted alone: where it does not stand among all comparisons, it says so."""
    if sentence.startswith(("better", "worse")) and p_holm >= 1 - CONFIDENCE:
        return f"{sentence} (Holm's {_p(p_holm)}: one of {comparisons} comparisons)"
    return sentence


def _points(share: float) -> str:
    return f"{100 * share + 0.0:.1f}".replace("-0.0", "0.0")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
