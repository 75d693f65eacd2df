"""Pairs of documents whose texts are nearly the same, or one of which holds most of the other.

MinHash signatures name the candidates; the shingles themselves, kept in a temporary file, decide. In memory are 512
bytes a document.
"""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from jobs.shingles import PERMUTATIONS, runs_of, words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIMILAR = 0.5  # Jaccard similarity from which two texts are nearly the same
CONTAINED = 0.8  # share of the shorter text from which it is contained in the longer: an extended version
_SIZE = 5  # words of a shingle
_SEED = 17
_ROWS = 2  # of a band: 64 bands find a text in one of three times its length in 98 of 100 cases


class TextShelf:
    """Texts as sets of shingles, numbered in the order in which they are put on it. A context manager."""

    def __enter__(self) -> TextShelf:
        self._file = TemporaryFile(prefix="footnote-shingles-")
        self._starts, self._signatures = [0], []
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, text: str) -> None:
        """Put one text on the shelf."""
        from rensa import RMinHash

        words = words_of(text)
        shingles = list(map(" ".join, runs_of(words, min(_SIZE, len(words))))) if words else []
        hashes = np.unique(np.array(RMinHash.hash_token_sets([shingles])[0], dtype=np.uint64))
        signature = RMinHash.digest_matrix_from_token_hash_sets([hashes], PERMUTATIONS, _SEED).to_rows()[0]
        self._signatures.append(np.array(signature, dtype=np.uint32))
        self._file.write(hashes.tobytes())
        self._starts.append(self._starts[-1] + len(hashes))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Numbers of two texts that belong together; a pair can come more than once."""
        if len(self._signatures) < 2:
            return
        self._file.flush()
        signatures, sizes, judged = np.stack(self._signatures), np.diff(self._starts), dict[tuple[int, int], bool]()
        for bucket in _buckets(signatures, sizes):
            for place, one in enumerate(bucket[:-1]):
                others = bucket[place + 1 :]
                estimates = (signatures[others] == signatures[one]).mean(axis=1)
                for other in others[estimates >= _least(sizes[one], sizes[others]) / 2].tolist():
                    pair = (int(one), other)
                    if pair not in judged:
                        judged[pair] = self._alike(*pair)
                    if judged[pair]:
                        yield pair

    def _alike(self, one: int, other: int) -> bool:
        first, second = self._shingles(one), self._shingles(other)
        shared = np.intersect1d(first, second, assume_unique=True).size
        smaller, either = min(len(first), len(second)), len(first) + len(second) - shared
        return shared >= CONTAINED * smaller or shared >= SIMILAR * either

    def _shingles(self, number: int) -> NDArray[np.uint64]:
        start, end = self._starts[number : number + 2]
        self._file.seek(8 * start)
        return np.frombuffer(self._file.read(8 * (end - start)), dtype=np.uint64)


def _buckets(signatures: NDArray[np.uint32], sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers, in order, of the texts that agree in a band; texts without words are in none."""
    for band in range(0, PERMUTATIONS, _ROWS):
        keys = np.ascontiguousarray(signatures[:, band : band + _ROWS]).view(np.uint64)[:, 0]
        _, groups, counts = np.unique(keys, return_inverse=True, return_counts=True)
        several = np.flatnonzero((counts[groups] > 1) & (sizes > 0))
        order = several[np.argsort(groups[several], kind="stable")]
        yield from np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _least(one: np.int64, others: NDArray[np.int64]) -> NDArray[np.float64]:
    """The Jaccard similarity of a pair that either rule joins, by the sizes of the two."""
    smaller, larger = np.minimum(one, others), np.maximum(one, others)
    return np.minimum(SIMILAR, CONTAINED * smaller / (larger + (1 - CONTAINED) * smaller))
