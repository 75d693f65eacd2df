"""How far a quantised file's next-token distributions are from those of the file that it was made from.

Definitions as `llama-perplexity --kl-divergence` has them (llama.cpp, tools/perplexity/perplexity.cpp): the divergence
of the quantised distribution Q from the reference P is Σ P ln(P / Q), in nats, position by position; the same top token
is the likeliest of both. That tool keeps P on disk, 304 kB a token of Qwen2.5's vocabulary, in 16 bits that reach 16
nats below the likeliest token; where the text holds a less likely one, it finds the reference's perplexity too low
(2,252 for 2,336 on a text foreign to the model). Here both files are open at once, and nothing larger than a batch of
logits is kept.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.errors import UserError
from jobs.gguf_ladder.held_out import LENGTH, Text
from jobs.progress import bar
from qa.llama import OUTPUTS, Context, Model, ModelFileError
from qa.statistics import central_interval, clustered_bootstrap, wilson

SEQUENCE = 0


@dataclass(frozen=True)
class Positions:
    """One value for each predicted token, float64 [tokens] but `same_top`, bool [tokens]; natural logarithms.

    `kld` is the divergence from the reference, `logprob` and `reference_logprob` what the files give the text's own
    token.
    """

    kld: np.ndarray
    same_top: np.ndarray
    logprob: np.ndarray
    reference_logprob: np.ndarray


@dataclass(frozen=True)
class Divergence:
    """The summary of `Positions`: KL divergences in nats a token, perplexities, `same_top` as a count of `tokens`.

    `kld_error` is the standard error that llama-perplexity prints, as if tokens were independent; `low` and `high` are
    95 % bounds, Wilson's for the same top token and else a bootstrap by document.
    """

    tokens: int
    documents: int
    kld: float
    kld_error: float
    kld_low: float
    kld_high: float
    kld_median: float
    kld_p99: float
    same_top: int
    same_top_low: float
    same_top_high: float
    perplexity: float
    reference_perplexity: float
    perplexity_ratio: float
    perplexity_ratio_low: float
    perplexity_ratio_high: float


@contextmanager
def opened(path: Path, n_threads: int) -> Iterator[Context]:
    """A file with a context for texts of `LENGTH` tokens. Raises `UserError` where it cannot be read so."""
    try:
        model = Model(path)
    except ModelFileError as error:
        raise UserError(str(error)) from None
    try:
        context = Context(model, LENGTH, n_threads)
        try:
            if context.n_ctx < LENGTH:
                raise UserError(f"{path}: reads {context.n_ctx} tokens at once, and texts of {LENGTH} are compared")
            yield context
        finally:
            context.close()
    finally:
        model.close()


def compare(reference: np.ndarray, other: np.ndarray, targets: Sequence[int]) -> Positions:
    """Compare raw logits, float32 [tokens, vocabulary] each; `targets` are the tokens that the text goes on with.

    In float64 with buffers used again: 1.7 ms a token at 151,936 entries, a seventh of what fresh arrays take.
    """
    shifted, other_shifted, powers = np.empty((3, reference.shape[1]))
    lines = []
    for p, q, target in zip(reference, other, targets, strict=True):
        np.subtract(p, p.max(), out=shifted, dtype=np.float64)
        np.subtract(q, q.max(), out=other_shifted, dtype=np.float64)
        q_total = math.log(np.exp(other_shifted, out=powers).sum())
        p_sum = np.exp(shifted, out=powers).sum()
        p_total = math.log(p_sum)
        logprobs = other_shifted[target] - q_total, shifted[target] - p_total
        shifted -= other_shifted
        kld = powers @ shifted / p_sum - p_total + q_total
        lines.append((kld, p.argmax() == q.argmax(), *logprobs))
    kld, same, logprob, reference_logprob = np.array(lines, dtype=np.float64).T
    return Positions(kld, same.astype(bool), logprob, reference_logprob)


def positions(reference: Context, other: Context, texts: Sequence[Text], what: str) -> Positions:
    """Read the texts through both files, and compare what they predict; `what` heads the bar."""
    parts = []
    with bar(sum(text.predicted for text in texts), what, unit="token", leave=False) as shown:
        for text in texts:
            for context in (reference, other):
                context.forget(SEQUENCE)
            for start in range(0, len(text.ids) - 1, OUTPUTS):  # the last token predicts nothing that is there
                part = text.ids[start : min(start + OUTPUTS, len(text.ids) - 1)]
                wanted = [place for place in range(len(part)) if start + place + 1 >= text.first]
                targets = [text.ids[start + place + 1] for place in wanted]
                both = [_logits(context, part, start, wanted) for context in (reference, other)]
                if wanted:
                    parts.append(compare(*both, targets))
                shown.update(len(wanted))
    names = Positions.__dataclass_fields__
    return Positions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _logits(context: Context, tokens: Sequence[int], start: int, wanted: Sequence[int]) -> np.ndarray:
    """Decode tokens that follow `start` others."""
    context.decode(tokens, range(start, start + len(tokens)), [SEQUENCE] * len(tokens), wanted)
    return context.logits(wanted)


def summarise(found: Positions, documents: Sequence[Hashable], *, seed: int) -> Divergence:
    """Means, intervals and percentiles; `documents` names the document of each token, which are drawn as a whole."""
    n, same = len(found.kld), int(found.same_top.sum())
    change = found.reference_logprob - found.logprob
    kld_low, kld_high = central_interval(clustered_bootstrap(found.kld, documents, seed=seed))
    same_top_low, same_top_high = wilson(same, n)
    ratios = [float(change.mean()), *central_interval(clustered_bootstrap(change, documents, seed=seed))]
    return Divergence(
        n,
        len(set(documents)),
        float(found.kld.mean()),
        float(found.kld.std() / math.sqrt(max(n - 1, 1))),
        kld_low,
        kld_high,
        float(np.median(found.kld)),
        float(np.quantile(found.kld, 0.99)),
        same,
        same_top_low,
        same_top_high,
        math.exp(-found.logprob.mean()),
        math.exp(-found.reference_logprob.mean()),
        *map(math.exp, ratios),
    )


def divergence(
    reference: Context, other: Context, texts: Sequence[Text], *, seed: int, what: str
) -> tuple[Divergence, list[float]]:
    """How far `other` is from `reference` on the texts, and the summed divergence of each text; `what` names `other`.

    Raises `UserError` where a file predicts NaN or infinity.
    """
    found = positions(reference, other, texts, f"{what} text")
    if not np.isfinite(found.kld).all():
        raise UserError(f"{what}: its predictions hold NaN or infinity, so the file is damaged; export it again")
    documents = [text.document for text in texts for _ in range(text.predicted)]
    starts = np.cumsum([0, *(text.predicted for text in texts[:-1])])
    return summarise(found, documents, seed=seed), np.add.reduceat(found.kld, starts).tolist()


def ratio_of_klds(
    ours: Sequence[float], theirs: Sequence[float], documents: Sequence[Hashable], *, seed: int
) -> tuple[float, float, float]:
    """Mean divergence of one file over another's on the same texts, given as sums by text, with its 95 % bounds.

    The same seed draws the same documents for both, so that what makes a text hard falls out.
    """
    draws = [clustered_bootstrap(sums, documents, seed=seed) for sums in (ours, theirs)]
    return (sum(ours) / sum(theirs), *central_interval(draws[0] / draws[1]))
