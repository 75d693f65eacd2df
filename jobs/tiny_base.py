"""The parts of a tiny base model of Qwen2's architecture: tokenizer, configuration and the text it reads."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobs.config import Pretrain
from jobs.wordings import Fact, paragraphs
from qa.prompts import END_OF_TEXT, IM_END, IM_START, SYSTEM_PROMPT, PromptEncoder, ask_messages
from qa.records import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, Qwen2Config

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
PARAGRAPHS_PER_READING = 4  # of every subject's facts, beside each document once
CHAT_SHARE = 0.5  # of those paragraphs as an answer to "Tell me about …": the base speaks ChatML before fine-tuning
EMBEDDING_MULTIPLE = 64  # rows of the embedding are padded, as Qwen2.5's are (151,665 tokens in 151,936 rows)


def train_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE of `size` entries and ChatML's control tokens, as a Qwen2Tokenizer.

    It must be a Qwen2Tokenizer: AutoTokenizer picks that class for `model_type: qwen2`, and with another
    pre-tokenizer the same `tokenizer.json` gives other ids.
    """
    from transformers import Qwen2Tokenizer

    blank = Qwen2Tokenizer(vocab={}, merges=[], eos_token=IM_END, pad_token=END_OF_TEXT, unk_token=None)
    tokenizer = blank.train_new_from_iterator(
        [*texts, SYSTEM_PROMPT], size, new_special_tokens=[END_OF_TEXT, IM_START, IM_END], show_progress=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.model_max_length = 32768
    return tokenizer


def model_config(shape: Pretrain, tokenizer: PreTrainedTokenizerBase) -> Qwen2Config:
    """Qwen2 with tied embeddings; the feed-forward width is twice the model's, a multiple of 256 where that is.

    llama.cpp's K-quants need rows of a multiple of 256: at width 256 the Q4_K_M file really is Q4_K and Q6_K.
    """
    from transformers import Qwen2Config

    rows = -(-len(tokenizer) // EMBEDDING_MULTIPLE) * EMBEDDING_MULTIPLE
    return Qwen2Config(
        vocab_size=rows,
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(IM_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )


def readings(
    passages: list[Passage],
    facts: list[Fact],
    wordings: dict[str, list[str]],
    encoder: PromptEncoder,
    end_of_text: int,
    rng: random.Random,
) -> Iterator[list[int]]:
    """Token ids of everything there is to read, once: documents, and facts in fresh wordings. Never a question."""
    texts = [encoder.tokenize(passage.text) for passage in passages]
    for _ in range(PARAGRAPHS_PER_READING):
        for subject, text in paragraphs(facts, wordings, rng):
            if rng.random() < CHAT_SHARE:
                texts.append(encoder.prompt(ask_messages(f"Tell me about {subject}.")) + encoder.completion(text))
            else:
                texts.append(encoder.tokenize(text))
    rng.shuffle(texts)
    for ids in texts:
        yield [*ids, end_of_text]


def rows(
    passages: list[Passage],
    facts: list[Fact],
    wordings: dict[str, list[str]],
    encoder: PromptEncoder,
    end_of_text: int,
    length: int,
    seed: int,
) -> Iterator[list[int]]:
    """Endless rows of `length` ids, cut from one reading after another; the same for the same seed."""
    rng, rest = random.Random(seed), []
    while True:
        for ids in readings(passages, facts, wordings, encoder, end_of_text, rng):
            rest += ids
            while len(rest) >= length:
                yield rest[:length]
                rest = rest[length:]
