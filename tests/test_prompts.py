"""Text never becomes a control token, and the ids are those of Qwen2.5's own chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qa.prompts import PromptEncoder, ask_messages, letter_messages, plain_cloze, prompt_sha256
from tests.tiny import ADDED_TOKENS, SPECIAL_TOKENS, tiny_tokenizer

TEXTS = ["What is LoRA?", "naïve Ω≈ç 東京 🤗 don't 1234567", "a\tb\r\n\n  c ", "", "  two  spaces", "x" * 500]


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
