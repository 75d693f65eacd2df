"""A whole teacher over HTTP: llama-cpp-python's own server with a tiny model, asked by the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.asker import Asker, open_asker
from jobs.chat_endpoint import ChatEndpoint
from jobs.data_config import KINDS, Budget, Writer
from jobs.writers.pairs import read_pairs, reply_layout, teacher_messages
from jobs.writers.taught import write_taught
from jobs.writers.teachers import LlamaModel
from tests.llama_server import running_llama_server
from tests.tiny import tiny_gguf, tiny_model
from tests.tiny_teacher import TEXT, passage, teacher_gguf

PASSAGES = [passage(2), *(passage(n, f"{TEXT} It is document d{n}.") for n in range(2))]  # which the model knows
TOO_LONG = passage(3, TEXT * 40)
LAYOUT = reply_layout(KINDS, 3)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with running_llama_server(teacher_gguf(folder), folder / "log", context=2048) as running:
        yield running


def asker(address: str, cache: Path, budget: Budget = Budget()) -> Asker:  # noqa: B008 (it is frozen)
    return open_asker("openai", "teacher", address, concurrency=4, cache=str(cache), budget=budget)


def test_the_schema_is_held_by_the_servers_grammar(address: str) -> None:
    endpoint = ChatEndpoint("teacher", address, "writer", retries=0)
    for shown in PASSAGES:
        made = endpoint.answer(teacher_messages(shown, KINDS, 3), LAYOUT, 1000)
        assert (made.problem, made.estimated) == ("", False)
        assert made.output_tokens > 0
        value = json.loads(made.text, strict=False)
        assert list(value) == ["pairs"]
        assert len(value["pairs"]) <= 3
        for pair in read_pairs(made.text):
            assert list(pair) == list(LAYOUT[1]["properties"]["pairs"]["items"]["properties"])
            assert pair["kind"] in KINDS
            assert all(isinstance(wrong, str) for wrong in pair["distractors"])
    assert endpoint.dialect == "json_object"  # json_schema is a server error there
    free = endpoint.answer([{"role": "user", "content": TEXT}], None, 40)
    assert free.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(free.text)


def test_what_the_model_invents_is_a_draft_at_most(address: str, tmp_path: Path) -> None:
    asking = asker(address, tmp_path)
    written = write_taught([*PASSAGES[:2], TOO_LONG, PASSAGES[2]], asking, writer=Writer(), seed=17)
    (refused,) = (entry for entry in written.rejected if entry.name == TOO_LONG.id)
    assert (refused.stage, refused.text) == ("reply", "")
    assert refused.reason.startswith("answered 400 (This model's maximum context length is 2048 tokens")
    assert not any(question.evidence and question.evidence in TEXT for question in written.questions)
    named = {entry.name for entry in written.rejected} | {question.passage for question in written.questions}
    assert named <= {shown.id for shown in (*PASSAGES, TOO_LONG)}
    assert written.usage["input_tokens"] > 3 * 800
    assert written.usage["output_tokens"] > 3 * 10
    assert (written.usage["estimated"], written.usage["cached"]) == (0, 0)
    again = write_taught(PASSAGES, asker(address, tmp_path, Budget(tokens=1)), writer=Writer(), seed=17)
    assert (again.usage["requests"], again.usage["stopped"]) == (0, "")
    assert again.usage["cached"] >= len(PASSAGES)
    assert again.questions == written.questions


def test_control_tokens_of_a_passage_reach_the_server_as_text(address: str, tmp_path: Path) -> None:
    """The server parses special tokens out of what it is sent; told as text, they are more tokens than one."""
    endpoint = ChatEndpoint("teacher", address, "writer", retries=0)

    def read(text: str) -> int:
        return endpoint.answer(teacher_messages(passage(0, text), KINDS, 3), None, 1).input_tokens

    raw = [{"role": "user", "content": "<|im_end|>" * 10}]
    assert endpoint.answer(raw, None, 1).input_tokens < 50
    assert read("<|im_end|>" * 10) - read("x") >= 50


def test_a_model_in_this_process_is_held_by_a_grammar_too(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model", seed=8)
    model = LlamaModel.load(str(tiny_gguf(tmp_path / "model", tmp_path / "m.gguf")), "writer")
    schema = {"type": "object", "properties": {"verdict": {"enum": ["A", "tie"]}}, "required": ["verdict"]}
    assert model.answer(teacher_messages(passage(), KINDS, 3), ("v", schema), 40).text.replace(" ", "") in (
        *('{"verdict":"A"}', '{"verdict":"tie"}'),
    )
    free = model.answer(teacher_messages(passage(), KINDS, 3), None, 40)
    assert "{" not in free.text[:5]
    assert (free.output_tokens, free.estimated) == (40, False)
    too_long = model.answer(teacher_messages(passage(0, TEXT * 99), KINDS, 3), LAYOUT, 40)
    assert "tokens" in too_long.problem
    with pytest.raises(ValueError, match="cannot read the grammar"):
        model.engine.generate(teacher_messages(passage(), KINDS, 3), grammar="nonsense {")
    warm = {"grammar": 'root ::= "yes" | "no"', "temperature": 1.5}
    said = {model.engine.generate(teacher_messages(passage(), KINDS, 3), seed=seed, **warm) for seed in range(12)}
    assert said <= {"yes", "no"}
