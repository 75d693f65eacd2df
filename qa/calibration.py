"""Calibration of multiple-choice answers: does a model that is sure of an option tend to be right?

Confidence is the softmax over the options' summed log-probabilities. The expected calibration error (ECE) is the mean
distance of confidence and accuracy over bins of equally many answers (Nixon et al. 2019, arXiv 1904.01685); Brier's
score is the squared error of all options' probabilities, 0 to 2 (Brier 1950). The ECE of few answers is above zero
also where confidence and accuracy agree, by some 0.04 at a thousand: compare it between models, on the same questions.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from qa.statistics import central_interval, numbered

BINS, BIN_ROWS = 15, 10  # at most so many bins, at least so many answers in each where there are that many
RESAMPLES = 1000


@dataclass(frozen=True)
class Bin:
    """Mean confidence and share of right answers, both 0 to 1, of `n` answers of like confidence."""

    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """`ece` with the bounds of its 95 % interval (by document), Brier's score, and bins from unsure to sure."""

    ece: float
    low: float
    high: float
    brier: float
    n: int
    bins: tuple[Bin, ...]


def option_shares(logprobs: Sequence[float]) -> np.ndarray:
    """The options' probabilities among themselves, float64 [options]: softmax of natural logarithms."""
    values = np.asarray(logprobs, dtype=np.float64)
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def calibrate(
    logprobs: Sequence[Sequence[float]], gold: Sequence[int], clusters: Sequence[Hashable], *, seed: int
) -> Calibration:
    """Calibration of answers picked by their log-probability; `gold` are the places of the right options.

    The interval holds what whole documents drawn anew make of the figure, moved by the mean of those draws: fewer
    different answers in a draw raise it by themselves.
    """
    shares = [option_shares(row) for row in logprobs]
    confidence = np.array([row.max() for row in shares])
    correct = np.array([np.argmax(row) == place for row, place in zip(logprobs, gold, strict=True)], dtype=np.float64)
    order = np.argsort(confidence, kind="stable")
    bins = _bins(confidence[order], correct[order])
    ece = _ece(confidence[order], correct[order])
    drawn = _resampled(confidence, correct, order, clusters, seed)
    low, high = central_interval(drawn - drawn.mean() + ece)
    brier = float(np.mean([_brier(row, place) for row, place in zip(shares, gold, strict=True)]))
    return Calibration(ece, max(0.0, low), min(1.0, high), brier, len(order), bins)


def _edges(n: int) -> np.ndarray:
    """Where the bins of n answers begin: as equal as whole numbers allow, the larger ones first."""
    count = min(BINS, max(1, n // BIN_ROWS))
    sizes = np.full(count, n // count) + (np.arange(count) < n % count)
    return np.concatenate([[0], np.cumsum(sizes)[:-1]])


def _bins(confidence: np.ndarray, correct: np.ndarray) -> tuple[Bin, ...]:
    edges = _edges(len(confidence))[1:]
    pairs = zip(np.split(confidence, edges), np.split(correct, edges), strict=True)
    return tuple(Bin(float(sure.mean()), float(right.mean()), len(sure)) for sure, right in pairs)


def _ece(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Of answers in the order of their confidence."""
    gaps = np.add.reduceat(confidence - correct, _edges(len(confidence)))
    return float(np.abs(gaps).sum() / len(confidence))


def _resampled(
    confidence: np.ndarray, correct: np.ndarray, order: np.ndarray, clusters: Sequence[Hashable], seed: int
) -> np.ndarray:
    """ECE of resamples that draw whole clusters with replacement, float64 [RESAMPLES]."""
    cluster = numbered(clusters)[order]
    count = cluster.max() + 1
    random, even = np.random.default_rng(seed), np.full(count, 1 / count)
    found = []
    for _ in range(RESAMPLES):
        rows = order.repeat(random.multinomial(count, even)[cluster])  # still in order of confidence
        found.append(_ece(confidence[rows], correct[rows]))
    return np.array(found)


def _brier(shares: np.ndarray, gold: int) -> float:
    target = np.zeros_like(shares)
    target[gold] = 1
    return float(((shares - target) ** 2).sum())
