"""Nothing is published unverified: the served GGUF file must answer as the merged weights it was made from.

Read from the rows of the evaluation, which asked both the same questions, but for those that were too long for one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UserError
from jobs.gguf_export.accuracy import KNOWN, beats_chance, chance_of, worse
from qa.records import Answer
from qa.statistics import CONFIDENCE, wilson

# Where the merged weights know something, four bits turn few answers: on the tiny run Q4_K_M gave theirs to 95 %, and a
# broken template or tensor gives one in four. The upper end of the 95 % interval is compared, so that a small test set
# refuses only what it can show. Where a model guesses, its options are near ties that any rounding turns (60 to 90 %
# agree on the tiny run): that is judged only where there is nothing else, and must then be better than chance.
MIN_AGREEMENT = 0.85
ASKED = f"{100 * MIN_AGREEMENT:.0f} %"

MODELS = ("merged", "gguf")

Key = tuple[str, str, str]  # task, formulation, row id
Pair = tuple[Answer, Answer]  # one question: the merged weights' answer and the GGUF's


@dataclass(frozen=True)
class Verified:
    """What was verified of one GGUF file: prompts compared, and how many of the judged answers agree."""

    file: str
    prompts: int
    judged: int
    agreed: int
    sentence: str


def verify(run: Path) -> Verified:
    """Compare `gguf` with `merged` in a run's evaluation. Raises `UserError` naming the file and the reason."""
    path = run / "gguf" / _evaluated_file(run / "evaluation")
    pairs = _pairs(run / "evaluation")
    if differing := sum(merged.prompt_sha256 != gguf.prompt_sha256 for merged, gguf in pairs):
        raise _refused(path, f"reads {differing} of {len(pairs)} prompts as other token ids than the merged weights do")
    choice = [pair for pair in pairs if pair[0].option_logprobs]  # what is written out differs in a word, not an answer
    known = [pair for group in _groups(choice) if _beats_chance(group, 0, KNOWN) for pair in group]
    if known and not _beats_chance(known, 1) and _worse(known):
        raise _refused(path, "answers no better than chance where the merged weights do: its template is likely broken")
    judged = known or choice
    agreed = sum(merged.predicted == gguf.predicted for merged, gguf in judged)
    said = f"gives their answer to {agreed} of {len(judged)} multiple-choice questions"
    low, high = wilson(agreed, len(judged))
    if known and high < MIN_AGREEMENT:
        raise _refused(path, f"{said} that the merged weights answer better than chance; {ASKED} is asked")
    if not known and low <= _chance(judged):
        raise _refused(path, f"{said}, no more than two models that guess; if it is not damaged, ask more questions")
    sentence = f"{_same_prompts(pairs)}, and {said}{_weight(known, agreed)}"
    return Verified(path.name, len(pairs), len(judged), agreed, sentence)


def _same_prompts(pairs: Sequence[Pair]) -> str:
    return f"reads all {len(pairs)} prompts as the same token ids as the merged weights"


def _weight(known: Sequence[Pair], agreed: int) -> str:
    """What an agreement on so many questions says."""
    if not known:
        return ", of which the merged weights answer no kind better than chance, so that this says little"
    low, high = wilson(agreed, len(known))
    return f" of the kinds that they answer better than chance (95 % {low:.1%} to {high:.1%}, must reach {ASKED})"


def _evaluated_file(evaluation: Path) -> str:
    path = evaluation / "gguf.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["source"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: no evaluation of a model named gguf; evaluate merged and gguf") from None


def _skipped(path: Path) -> set[Key]:
    """Questions that one of the two models could not be asked."""
    try:
        skipped = json.loads(path.read_text(encoding="utf-8"))["skipped"]
        rows = [row for model in MODELS for row in skipped.get(model, [])]
        return {(row["task"], row["formulation"], row["row_id"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error!r}); evaluate again") from None


def _pairs(evaluation: Path) -> list[Pair]:
    """The two answers to each question that could be asked of both models, with all of them or none."""
    import pyarrow.parquet

    path, skipped = evaluation / "items.parquet", _skipped(evaluation / "metrics.json")
    try:
        rows = pyarrow.parquet.read_table(path, filters=[("model", "in", MODELS)]).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({error}); evaluate again") from None
    answers = [Answer.model_validate(row) for row in rows]
    merged, gguf = (
        {key: row for row in answers if row.model == model and (key := _key(row)) not in skipped} for model in MODELS
    )
    if merged.keys() != gguf.keys() or not any(row.option_logprobs for row in merged.values()):
        raise UserError(f"{path}: merged and gguf were not asked the same questions; evaluate both")
    return [(row, gguf[key]) for key, row in merged.items()]


def _key(row: Answer) -> Key:
    return row.task, row.formulation, row.row_id


def _groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair[0].task, pair[0].formulation), []).append(pair)
    return list(groups.values())


def _chance(pairs: Sequence[Pair]) -> float:
    return chance_of([len(merged.option_logprobs) for merged, _ in pairs])


def _beats_chance(pairs: Sequence[Pair], side: int, confidence: float = CONFIDENCE) -> bool:
    return beats_chance([pair[side].correct for pair in pairs], _chance(pairs), confidence)


def _worse(pairs: Sequence[Pair]) -> bool:
    return worse([merged.correct for merged, _ in pairs], [gguf.correct for _, gguf in pairs])


def _refused(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: not published, it {reason}; run export and evaluate again")
