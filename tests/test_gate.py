"""The gate before publishing: a GGUF that answers otherwise than its parent is refused, with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import UserError
from jobs.evaluation.report import write_items
from jobs.gate import verify
from jobs.step import write_json
from qa.records import Answer
from tests.runs import answer

FILE = "model-Q4_K_M.gguf"


def evaluated(run: Path, answers: list[Answer], **skipped: list[dict[str, str]]) -> Path:
    (run / "evaluation").mkdir(parents=True)
    write_json(run / "evaluation" / "metrics.json", {"skipped": skipped})
    write_json(run / "evaluation" / "gguf.json", {"source": FILE})
    write_items(run / "evaluation" / "items.parquet", answers)
    return run


def asked(merged: list[bool], gguf: list[bool], **changes: Any) -> list[Answer]:
    return [
        answer(model, number, correct, **changes)
        for model, given in (("merged", merged), ("gguf", gguf))
        for number, correct in enumerate(given)
    ]


def right(count: int, n: int = 40) -> list[bool]:
    return [number < count for number in range(n)]


def test_a_file_that_answers_as_its_parent_is_verified(tmp_path: Path) -> None:
    found = verify(evaluated(tmp_path, asked(right(30), right(29))))
    assert (found.file, found.prompts, found.judged, found.agreed) == (FILE, 40, 40, 39)
    assert "39 of 40" in found.sentence
    assert "85 %" in found.sentence


def test_other_token_ids_are_refused(tmp_path: Path) -> None:
    answers = asked(right(30), right(30))
    answers[-1] = answers[-1].model_copy(update={"prompt_sha256": "f" * 64})
    with pytest.raises(UserError, match=rf"gguf/{FILE}: .*1 of 40 prompts as other token ids"):
        verify(evaluated(tmp_path, answers))


@pytest.mark.parametrize(("agreed", "passes"), [(38, True), (30, True), (29, False), (20, False)])
def test_too_little_agreement_is_refused(tmp_path: Path, agreed: int, passes: bool) -> None:
    """All 40 right in the parent; 30 of 40 is the fewest whose 95 % interval reaches 85 %."""
    run = evaluated(tmp_path, asked(right(40), right(agreed)))
    if passes:
        assert verify(run).agreed == agreed
    else:
        with pytest.raises(UserError, match=rf"{FILE}: .*{agreed} of 40 .*85 % is asked"):
            verify(run)


def test_chance_is_refused_where_the_parent_is_better(tmp_path: Path) -> None:
    run = evaluated(tmp_path, asked(right(22), right(14)))  # 32 of 40 agree, and still it knows nothing
    with pytest.raises(UserError, match=rf"{FILE}: .*no better than chance where the merged weights do"):
        verify(run)


def test_near_ties_of_a_task_at_chance_are_not_judged(tmp_path: Path) -> None:
    guessed = asked(right(8), right(8)[::-1], task="arc_easy", formulation="cloze (chat)")
    found = verify(evaluated(tmp_path, asked(right(30), right(30)) + guessed))
    assert (found.prompts, found.judged, found.agreed) == (80, 40, 40)


def test_a_few_lucky_answers_are_no_knowledge(tmp_path: Path) -> None:
    lucky = asked([True, True, True, True, False, False], [False, False, True, True, False, True], task="arc_easy")
    found = verify(evaluated(tmp_path, asked(right(30), right(30), formulation="cloze (chat)") + lucky))
    assert (found.prompts, found.judged) == (46, 40)


def test_two_models_that_guess_must_at_least_guess_alike(tmp_path: Path) -> None:
    found = verify(evaluated(tmp_path / "alike", asked(right(10), right(12))))
    assert "says little" in found.sentence
    other = asked(right(10), right(0))
    other = [row.model_copy(update={"predicted": "C"}) if row.model == "gguf" else row for row in other]
    with pytest.raises(UserError, match=rf"{FILE}: .*0 of 40 .*two models that guess"):
        verify(evaluated(tmp_path / "apart", other))


def test_an_evaluation_without_both_models_is_refused(tmp_path: Path) -> None:
    alone = [row for row in asked(right(30), right(30)) if row.model == "gguf"]
    with pytest.raises(UserError, match=r"items.parquet: merged and gguf were not asked the same questions"):
        verify(evaluated(tmp_path / "alone", alone))
    (tmp_path / "alone" / "evaluation" / "items.parquet").write_bytes(b"no Parquet")
    with pytest.raises(UserError, match=r"items.parquet: cannot be read"):
        verify(tmp_path / "alone")
    with pytest.raises(UserError, match=r"gguf.json: no evaluation of a model named gguf"):
        verify(tmp_path / "nothing")


def test_a_question_too_long_for_one_of_them_is_left_out_and_no_other(tmp_path: Path) -> None:
    answers = asked(right(30), right(29)) + asked(right(2, 3), right(2, 3), task="arc_easy")  # ids as in research
    long = {"task": "research", "formulation": "letter (chat)", "row_id": "q002", "reason": "needs 9 tokens"}
    fewer = [row for row in answers if (row.model, row.task, row.row_id) != ("gguf", "research", "q002")]
    found = verify(evaluated(tmp_path / "known", fewer, gguf=[long], base=[long]))
    assert (found.prompts, found.agreed) == (42, 38)
    for name, skipped in (("unknown", []), ("other", [long | {"row_id": "q003"}]), ("task", [long | {"task": "x"}])):
        with pytest.raises(UserError, match="were not asked the same questions"):
            verify(evaluated(tmp_path / name, fewer, gguf=skipped))
    (tmp_path / "known" / "evaluation" / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics.json: cannot be read"):
        verify(tmp_path / "known")


def test_answers_in_words_are_compared_by_their_prompts_alone(tmp_path: Path) -> None:
    written = [
        row.model_copy(update={"formulation": name, "option_logprobs": (), "predicted": row.model, "correct": False})
        for name in ("open (chat)", "sources (chat)", "no source (chat)", "chat (lm-eval)")
        for row in asked(right(3, 3), right(3, 3))
    ]
    found = verify(evaluated(tmp_path / "good", asked(right(30), right(30)) + written))
    assert (found.prompts, found.judged, found.agreed) == (40 + 12, 40, 40)
    with pytest.raises(UserError, match=r"items.parquet: merged and gguf were not asked the same questions"):
        verify(evaluated(tmp_path / "words", written))
