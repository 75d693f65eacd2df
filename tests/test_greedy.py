"""The likeliest token is the one that llama.cpp's greedy sampler takes, for less work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from qa.engine import Engine
from qa.llama import Context, Model
from qa.prompts import ask_messages
from qa.sampling import Draw, Sampler
from tests.tiny import tiny_gguf, tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("greedy") / "model"
    tiny_model(folder)
    return tiny_gguf(folder, folder.parent / "tiny.gguf")


@pytest.fixture
def context(path: Path) -> Iterator[Context]:
    with closing(Model(path)) as model, closing(Context(model, 256, 1)) as context:
        context.decode(range(40, 50), range(10), [0] * 10, range(10))
        yield context


def of_llama_cpp(context: Context, index: int) -> int:
    chain = llama_cpp.llama_sampler_init_greedy()
    try:
        return llama_cpp.llama_sampler_sample(chain, context.pointer, index)
    finally:
        llama_cpp.llama_sampler_free(chain)


def test_the_likeliest_token_is_llama_cpps(context: Context) -> None:
    likeliest = [context.likeliest(index) for index in range(10)]
    assert likeliest == [of_llama_cpp(context, index) for index in range(10)]
    assert context.likeliest(-1) == likeliest[-1]
    assert len(set(likeliest)) > 3


def test_of_equals_the_first_is_taken_as_llama_cpp_does(context: Context) -> None:
    for places in ([7, 300], [300, 7, 8], [0, 511], range(512)):
        context._row(3)[list(places)] = 99.0
        assert context.likeliest(3) == of_llama_cpp(context, 3) == min(places)
        context._row(3)[list(places)] = np.float32(-99.0)


@pytest.mark.parametrize(
    ("draw", "asked"),
    [
        (Draw(), 0),
        (Draw(repeat_penalty=1.1), 1),
        (Draw(temperature=0.7, top_k=5), 1),
    ],
)
def test_llama_cpps_sampler_is_asked_only_where_more_than_the_likeliest_is_wanted(
    draw: Draw, asked: int, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    sample = llama_cpp.llama_sampler_sample
    monkeypatch.setattr(llama_cpp, "llama_sampler_sample", lambda *work: calls.append(work[2]) or sample(*work))
    with closing(Sampler(draw, context.model)) as sampler:
        assert 0 <= sampler.next(context, 4) < context.model.size
    assert len(calls) == asked


def test_a_grammar_holds_the_likeliest_token_too(path: Path) -> None:
    with Engine.load(path, n_ctx=512) as engine:
        answer = engine.generate(ask_messages("Which?"), max_tokens=6, grammar='root ::= [A-D] " because" [a-z ]*')
    assert answer[0] in "ABCD"
    assert " because".startswith(answer[1:9])
