"""Log-likelihoods: packed and batched against one sequence at a time, transformers against llama.cpp."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.evaluation.backends import Backend, open_backend
from jobs.evaluation.sources import Source, find_source
from qa.choices import ChoicePrompt, Item, pick
from qa.prompts import ask_messages
from qa.records import Question
from tests.tiny import TEXT, tiny_adapter, tiny_gguf, tiny_model
from tests.tiny_questions import make_question

WORDS = TEXT.split()
ARC = Path(__file__).parents[2] / "shared/data/hub/allenai/ai2_arc/ARC-Challenge"
DRAW = random.Random(5)
QUESTIONS = [make_question(DRAW, number, "research") for number in range(40)]  # three to five options, two label sets
SHOTS = tuple(make_question(DRAW, number, "shots") for number in range(5))
PROMPTS = [
    ChoicePrompt(formulation, template, SHOTS[:shots], "Some questions.\n\n" if template == "plain" else "")
    for formulation in ("letter", "cloze")
    for template in ("plain", "chat")
    for shots in (0, 5)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("likelihood") / "model"
    tiny_model(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(folder: Path) -> Path:
    return tiny_adapter(folder, folder.parent / "adapter")


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[Backend]:
    backend = open_backend("base", Source("transformers", str(folder)))
    yield backend
    backend.close()


def naive(model: Any, items: list[Item], dtype: str = "float32") -> list[list[float]]:
    """One sequence at a time, no cache, the output layer and log-softmax at every position: slow and plain."""
    import torch

    head = model.get_output_embeddings().weight.to(getattr(torch, dtype))
    scores = []
    for prompt, options, _ in items:
        scores.append([])
        for option in options:
            with torch.inference_mode():
                states = model.model(torch.tensor([prompt + option]), use_cache=False).last_hidden_state[0]
                table = torch.log_softmax(states.to(head.dtype) @ head.T, -1)
                chosen = [table[len(prompt) + place - 1, token] for place, token in enumerate(option)]
                scores[-1].append(sum(chosen[1:], chosen[0]).item())
    return scores


def furthest(ours: list[list[float]], theirs: list[list[float]]) -> float:
    return max(abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.name)
def test_scores_equal_the_naive_reference(prompt: ChoicePrompt, backend: Backend, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    items = prompt.items(backend.encoder, QUESTIONS[:24])
    assert {len(item.options) for item in items} == {3, 4, 5}
    assert (items[0].head > 100) == bool(prompt.shots)
    expected = naive(AutoModelForCausalLM.from_pretrained(folder).eval(), items)
    assert furthest(backend.option_logprobs(items), expected) < 1e-4


def test_scores_of_an_adapter_equal_the_naive_reference(folder: Path, adapter: Path, backend: Backend) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    tuned = open_backend("adapter", find_source("adapter", adapter, folder))
    items = PROMPTS[5].items(tuned.encoder, QUESTIONS[:12])
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).eval()
    scores = tuned.option_logprobs(items)
    assert furthest(scores, naive(model.get_base_model(), items)) < 1e-4
    assert furthest(scores, backend.option_logprobs(items)) > 0.1


@pytest.mark.parametrize("prompt", PROMPTS[4:6], ids=lambda prompt: prompt.name)
def test_scores_do_not_depend_on_the_batch(prompt: ChoicePrompt, backend: Backend) -> None:
    items = prompt.items(backend.encoder, QUESTIONS)
    together = backend.option_logprobs(items)
    alone = [backend.option_logprobs([item])[0] for item in items]
    order = random.Random(1).sample(range(len(items)), len(items))
    mixed = backend.option_logprobs([items[index] for index in order])
    assert furthest(together, alone) < 1e-4
    assert furthest([together[index] for index in order], mixed) < 1e-4


def test_a_head_runs_once_and_is_neither_grown_nor_confused(backend: Backend, folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model, ran = AutoModelForCausalLM.from_pretrained(folder).eval(), []
    hook = backend._causal.model.register_forward_pre_hook(
        lambda _, __, given: ran.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    items, other = (PROMPTS[number].items(backend.encoder, QUESTIONS[:6]) for number in (1, 5))
    first = backend.option_logprobs(items[:3])
    assert ran[0] == items[0].head
    kept = [part.clone() for pair in backend._states._kept for part in pair]
    ran.clear()
    mixed = [items[0]._replace(head=0), *items[1:]]
    assert furthest(backend.option_logprobs(mixed), naive(model, mixed)) < 1e-4
    assert items[0].head not in ran
    now = [part for pair in backend._states._kept for part in pair]
    assert all(part.equal(before) for part, before in zip(now, kept, strict=True))
    assert furthest(backend.option_logprobs([*items, *other]), naive(model, [*items, *other])) < 1e-4
    ran.clear()
    assert backend.option_logprobs(items[:3]) == first
    assert ran[0] == items[0].head
    hook.remove()


def test_in_bfloat16_the_output_layer_and_the_sums_are_float32(
    folder: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    low = open_backend("base", Source("transformers", str(folder)), dtype="bfloat16")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    weight, read, differences = model.lm_head.weight.float(), low._read, []

    def checked(states: torch.Tensor, inverse: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert states.dtype == torch.bfloat16
        values = read(states, inverse, targets)
        expected = torch.log_softmax(states.float() @ weight.T, -1)[inverse, targets]
        differences.append((values - expected).abs().max().item())
        return values

    monkeypatch.setattr(low, "_read", checked)
    items = [item for prompt in PROMPTS[::2] for item in prompt.items(low.encoder, QUESTIONS)]
    scores, rounded = low.option_logprobs(items), naive(model, items, "bfloat16")
    assert max(differences) < 1e-5
    assert sum(len(set(row)) < len(row) for row in rounded) >= 5  # ties, where sums are rounded
    assert not any(len(set(row)) < len(row) for row in scores)
    assert furthest(scores, naive(model, items)) < 0.5
    assert furthest(scores, backend.option_logprobs(items)) > 1e-3


def test_the_output_layer_in_parts_is_the_whole(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    items = PROMPTS[4].items(backend.encoder, QUESTIONS[:8])
    whole = backend.option_logprobs(items)
    monkeypatch.setattr("jobs.evaluation.likelihood.VOCABULARY", 100)
    assert furthest(backend.option_logprobs(items), whole) < 1e-5


def test_what_cannot_be_scored_is_said(backend: Backend) -> None:
    with pytest.raises(ValueError, match="prompt of 3 tokens ends within its head of 3"):
        backend.option_logprobs([Item([1, 2, 3], [[4]], head=3)])
    with pytest.raises(ValueError, match="without tokens"):
        backend.option_logprobs([Item([1, 2, 3], [[4], []])])


def test_greedy_answers_do_not_depend_on_padding(backend: Backend) -> None:
    prompts = [backend.encoder.prompt(ask_messages(" ".join(WORDS[: 3 + 9 * number]))) for number in range(6)]
    together = backend.generate(prompts, 12)
    assert together == [backend.generate([prompt], 12)[0] for prompt in prompts]
    assert all(together)


def test_answers_end_before_their_stop_strings(backend: Backend, folder: Path, tmp_path: Path) -> None:
    gguf = open_backend("gguf", Source("gguf", str(tiny_gguf(folder, tmp_path / "tiny.gguf", "f32"))))
    prompts = [backend.encoder.prompt(ask_messages(" ".join(WORDS[number : number + 9]))) for number in range(6)]
    for model in (backend, gguf):
        whole = model.generate(prompts, 16)
        stops = (whole[0][5:8], whole[3][2:4])
        assert all(stops)
        short = model.generate(prompts, 16, stops)
        assert short == [min((text.split(stop)[0] for stop in stops), key=len) for text in whole]
        assert len(short[0]) <= 5
        assert len(short[3]) <= 2
    gguf.close()


def arc_questions(split: str, count: int) -> list[Question]:
    import pyarrow.parquet as pq

    path = ARC / f"{split}-00000-of-00001.parquet"
    if not path.exists():
        pytest.skip("needs ARC, which is not here")
    rows = pq.read_table(path).slice(0, count).to_pylist()
    return [Question.from_arc(row, task="arc_challenge", source="ARC", licence="") for row in rows]


@pytest.fixture(scope="module")
def gguf(folder: Path) -> Iterator[Backend]:
    backend = open_backend("gguf", Source("gguf", str(tiny_gguf(folder, folder.parent / "tiny-f16.gguf", "f16"))))
    yield backend
    backend.close()


@pytest.mark.parametrize("rows", ["tiny", "arc"])
@pytest.mark.parametrize("shots", [0, 3])
@pytest.mark.parametrize("formulation", ["letter", "cloze"])
def test_gguf_agrees_with_transformers(
    formulation: str, shots: int, rows: str, backend: Backend, gguf: Backend
) -> None:
    questions = QUESTIONS if rows == "tiny" else arc_questions("test", 60)
    examples = SHOTS if rows == "tiny" else arc_questions("train", 3)
    prompt = ChoicePrompt(formulation, "plain" if formulation == "cloze" else "chat", tuple(examples[:shots]))
    items = prompt.items(backend.encoder, questions)
    assert items == prompt.items(gguf.encoder, questions)
    compared = 0
    both = zip(questions, backend.option_logprobs(items), gguf.option_logprobs(items), strict=True)
    for question, left, right in both:
        assert left == pytest.approx(right, rel=5e-3, abs=0.1)  # weights and KV cache are F16
        if margin(left, question, formulation) > 0.05:
            compared += 1
            assert pick(left, question, formulation) == pick(right, question, formulation)
    assert compared >= 0.85 * len(items)


def margin(logprobs: list[float], question: Question, formulation: str) -> float:
    """Nats between the two best of the scores that decide; per character, times the options' mean length."""
    lengths = [len(choice) for choice in question.choices] if formulation == "cloze" else [1] * len(logprobs)
    best, second = sorted((value / length for value, length in zip(logprobs, lengths, strict=True)), reverse=True)[:2]
    return (best - second) * sum(lengths) / len(lengths)
