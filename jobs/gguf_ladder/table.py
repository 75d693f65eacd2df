"""The ladder as a table: what `ladder.json` says, in cells ready for a card or a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MATRIX = {True: "yes", False: "no", None: "–"}
SHORT = (0, 1, 2, 4, 9, 11)


@dataclass(frozen=True)
class LadderTable:
    """Headers in order, rows that map each header to its cell, and the sentences that belong below.

    `short` are the headers that fit a terminal of 80 columns.
    """

    headers: tuple[str, ...]
    short: tuple[str, ...]
    rows: list[dict[str, str]]
    notes: list[str]


def label_of(row: dict[str, Any]) -> str:
    """How a row is named, for example `Q4_K_M` or `Q4_K_M, matrix`."""
    return f"{row['type'].upper()}{', matrix' if row['matrix'] else ''}"


def ladder_table(ladder: dict[str, Any]) -> LadderTable:
    """The table of a `ladder.json`; intervals are 95 %."""
    rows = [_cells(row, ladder["reference"].upper()) for row in ladder["rows"]]
    headers = tuple(rows[0])
    return LadderTable(headers, tuple(headers[place] for place in SHORT), rows, list(_notes(ladder)))


def _cells(row: dict[str, Any], reference: str) -> dict[str, str]:
    far, speed, accuracy = row["divergence"], row["speed"], row["accuracy"]
    first = row["difference"] is None
    return {
        "type": row["type"].upper(),
        "matrix": MATRIX[row["matrix"]],
        "size": size(row["bytes"]),
        "bits a weight": f"{row['bits_per_weight']:.2f}",
        "KL divergence": "0" if far["kld"] == 0 else f"{far['kld']:.5f} ± {far['kld_error']:.5f}",
        "99th percentile": "0" if far["kld_p99"] == 0 else f"{far['kld_p99']:.3f}",
        "same top token": _share(far["same_top"] / far["tokens"], far["same_top_low"], far["same_top_high"]),
        "perplexity": f"{far['perplexity']:.3f}" if first else f"× {_ratio(far)}",
        "accuracy": f"{100 * accuracy['value']:.1f} %",
        f"points against {reference}": "–" if first else _points(row["difference"]),
        "prompt, tokens/s": _rate(speed["prompt"], speed["prompt_ratio"], first),
        "answer, tokens/s": _rate(speed["generation"], speed["generation_ratio"], first),
    }


def size(count: int) -> str:
    """Bytes in decimal units, as file managers and the Hub show them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _share(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def _ratio(far: dict[str, Any]) -> str:
    low, high = far["perplexity_ratio_low"], far["perplexity_ratio_high"]
    return f"{far['perplexity_ratio']:.4f} ({low:.4f} to {high:.4f})"


def _rate(value: float, ratio: float, first: bool) -> str:
    """Tokens per second, and how many times the reference's, which is timed in turn and steadier than the rate."""
    return f"{value:,.{0 if value >= 100 else 1}f}{'' if first else f' (× {ratio:.2f})'}"


def _points(difference: dict[str, Any]) -> str:
    value, low, high = (f"{100 * difference[key] + 0.0:+.1f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _notes(ladder: dict[str, Any]) -> Iterator[str]:
    text, rows, reference = ladder["text"], ladder["rows"], ladder["reference"].upper()
    asked, machines = rows[0]["accuracy"]["n"], dict.fromkeys(row["speed"]["machine"] for row in rows)
    yield (
        f"KL divergence from {reference} (nats a token, mean ± standard error), same top token and perplexity over "
        f"{text['tokens']:,} tokens of {text['passages']} passages and {text['answered']} questions with answers of "
        f"{text['documents']} documents, none of which the fine-tuning or the importance matrix has read."
    )
    yield f"Accuracy on {asked} held-out multiple-choice questions, {ladder['prompt']}; intervals are 95 %."
    if worth := [_worth(row) for row in rows if row["matrix_worth"]]:
        yield f"KL divergence with importance matrix against that without: {', '.join(worth)}."
    yield from _verdicts(rows[1:], reference)
    yield (
        f"Tokens per second on {' and '.join(machines)}: medians of {rows[0]['speed']['rounds']} rounds, taken in turn "
        f"with {reference}, in brackets how many times its rate; another machine gives others."
    )


def _worth(row: dict[str, Any]) -> str:
    ratio, low, high = (f"{100 * row['matrix_worth'][key] - 100:+.1f}" for key in ("ratio", "low", "high"))
    return f"{row['type'].upper()} {ratio} % ({low} to {high})"


def _verdicts(rows: Sequence[dict[str, Any]], reference: str) -> Iterator[str]:
    """Types whose accuracy differs, else what the questions could have shown."""
    differing = [row for row in rows if row["difference"]["verdict"].startswith(("better", "worse"))]
    for row in differing:
        yield f"{label_of(row)} against {reference}: {row['difference']['verdict']}."
    if rows and not differing:
        told = [row["difference"]["verdict"].rpartition("; ")[2] for row in rows]
        least = max(row["difference"]["detectable"] for row in rows)
        shown = f"the questions can show {100 * least:.1f} points or more"
        few = next((said for said in told if said.endswith("too few to tell")), "")
        yield f"No type's accuracy is shown to differ from {reference}'s; {few or shown}."
