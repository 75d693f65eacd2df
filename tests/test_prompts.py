"""Text never becomes a control token, and the ids are those of Qwen2.5's own chat template."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from qa.prompts import PromptEncoder, as_plain_text, ask_messages, letter_messages, plain_cloze, prompt_sha256
from tests.tiny import ADDED_TOKENS, SPECIAL_TOKENS, tiny_tokenizer

TEXTS = [
    "What is LoRA?",
    "naïve Ω≈ç 東京 🤗 don't 1234567",
    "a\tb\r\n\n  c ",
    "",
    "  two  spaces",
    "x" * 500,
    "cafe\u0301 A\u030a \u212b \u212a",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def qwen(shared_data: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared_data / "hub" / "Qwen" / "Qwen2.5-3B-Instruct")


@pytest.mark.parametrize("token", SPECIAL_TOKENS + ADDED_TOKENS)
def test_a_persons_text_never_yields_a_control_token(tokenizer: Any, token: str) -> None:
    encoder = PromptEncoder.from_transformers(tokenizer)
    ids = encoder.prompt(ask_messages(f"before {token} after{token}"))
    control = {tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS + ADDED_TOKENS}
    assert [number for number in ids if number in control] == [
        encoder.im_start, encoder.im_end, encoder.im_start, encoder.im_end, encoder.im_start,
    ]  # fmt: skip
    assert tokenizer.decode(ids).count(token) == 2 + {"<|im_start|>": 3, "<|im_end|>": 2}.get(token, 0)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_the_templates(tokenizer: Any, text: str) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": text}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert PromptEncoder.from_transformers(tokenizer).prompt(messages) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_ids_equal_the_real_qwen_templates(qwen: Any, text: str) -> None:
    encoder = PromptEncoder.from_transformers(qwen)
    for messages in (ask_messages(text), letter_messages(text, ["one", "two"], ["1", "2"])):
        expected = qwen.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert encoder.prompt(messages) == expected
    answered = [*ask_messages("Q"), {"role": "assistant", "content": "A low-rank update."}]
    whole = qwen.apply_chat_template(answered, return_dict=False)
    ours = encoder.prompt(ask_messages("Q")) + encoder.completion("A low-rank update.")
    assert whole[: len(ours)] == ours


def test_no_control_token_of_the_real_qwen_comes_from_text(qwen: Any) -> None:
    encoder, added = PromptEncoder.from_transformers(qwen), qwen.added_tokens_decoder
    assert len(added) == 22
    for token in map(str, added.values()):
        ids = encoder.tokenize(f"a{token}b {token}")
        assert not set(ids) & set(added), token
        assert qwen.decode(ids) == f"a{token}b {token}"


def test_the_golden_tokenisations_of_llama_cpp_hold(qwen: Any, shared_data: Path) -> None:
    encoder = PromptEncoder.from_transformers(qwen)
    (source,) = (shared_data / "golden").glob("*.inp")
    texts = source.read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    answers = source.with_suffix(".out").read_text().splitlines()
    pairs = [(text, [int(number) for number in line.split()]) for text, line in zip(texts, answers, strict=False)]
    assert len(pairs) >= 46
    for text, expected in pairs:
        assert encoder.tokenize(text) == expected, repr(text)


def test_letters_show_the_rows_own_labels() -> None:
    content = letter_messages("Which?", ["cat", "dog", "eel"], ["1", "2", "3"])[-1]["content"]
    assert content == "Which?\n\n1. cat\n2. dog\n3. eel\n\nAnswer with the label of the right option only."


def test_the_plain_cloze_is_the_harness_own_text() -> None:
    assert plain_cloze("Why?") == "Question: Why?\nAnswer:"


def test_a_tokenizer_without_chatml_is_refused(tokenizer: Any) -> None:
    class Other:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    with pytest.raises(ValueError, match="not a ChatML model"):
        PromptEncoder.from_transformers(Other())


def test_a_prompts_identity_is_that_of_its_ids() -> None:
    assert prompt_sha256([1, 23]) != prompt_sha256([12, 3])


ODD = (  # letters alone, signs alone, overlapping, one inside another, decomposed
    *(
        "<|1|>",
        "foo",
        "__",
        "12",
        "<tool",
        "<|a",
        "a|>",
        "b<|",
        "tool_call",
        "im_start|><|im",
        "caf\u00e9!",
        "u\u0308ber",
    ),
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tokenizer whose added tokens look like nothing in particular."""
    tokenizer = tiny_tokenizer(tmp_path_factory.mktemp("odd"))
    assert tokenizer.add_tokens(list(ODD)) == len(ODD)
    return tokenizer


@pytest.mark.parametrize("token", ODD)
def test_added_tokens_of_any_look_stay_text(odd: Any, token: str) -> None:
    encoder, added = PromptEncoder.from_transformers(odd), set(odd.added_tokens_decoder)
    form = unicodedata.normalize("NFC", token)
    assert set(odd(f"x{form}y", split_special_tokens=True)["input_ids"]) & added  # what the encoder keeps out
    for text in (token, form, f"x{token}y", token * 3):
        ids = encoder.tokenize(text)
        assert not set(ids) & added
        assert odd.decode(ids) == unicodedata.normalize("NFC", text)


def test_no_mixture_of_added_tokens_yields_one(odd: Any) -> None:
    encoder, added = PromptEncoder.from_transformers(odd), set(odd.added_tokens_decoder)
    tokens, draw = [*ODD, *SPECIAL_TOKENS, *ADDED_TOKENS], random.Random(0)
    pieces = [*tokens, *(token[:-1] for token in tokens), *(token[1:] for token in tokens), " ", "\n", "x", "\u0301"]
    for _ in range(2000):
        text = "".join(draw.choices(pieces, k=draw.randint(1, 8)))
        ids = encoder.tokenize(text)
        assert not set(ids) & added, text
        assert odd.decode(ids) == unicodedata.normalize("NFC", text)


def test_an_added_token_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="the added token 'x' is too short"):
        as_plain_text(lambda text: [], ["<|im_end|>", "x"])


DECOMPOSED = (
    "cafe\u0301",
    "A\u030angstro\u0308m",
    "\u212b and \u212a",
    "\u1112\u1161\u11ab",
    "<|im_end|>\u0301 e\u0301",
)


@pytest.mark.parametrize("text", DECOMPOSED)
def test_decomposed_text_has_the_ids_of_the_composed(text: str) -> None:
    encoder = PromptEncoder(lambda text: list(text.encode()), 1001, 1002)  # a tokenizer that normalises nothing
    composed = unicodedata.normalize("NFC", text)
    assert text != composed
    assert encoder.tokenize(text) == encoder.tokenize(composed)
    assert encoder.prompt(ask_messages(text)) == encoder.prompt(ask_messages(composed))
    assert encoder.completion(text) == encoder.completion(composed)
