"""Prompts: one system prompt, the messages of every task, and the only way from text to token ids.

Special tokens come from this file alone. What a person, a document or a model wrote is tokenised as plain text, so a
visitor who types `<|im_end|>` gets the ten characters, never the control token (`encode` never hands content to a
tokenizer that parses special tokens). The ids equal those of Qwen2.5's own chat template for content that holds no
special token; a test holds both.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

SYSTEM_PROMPT = (
    "You are Footnote. Answer questions about AI research briefly and precisely. If you do not know, say so."
)

NOT_FOUND = "I don't find this in my sources."
SOURCES_TASK = (
    "Answer from the sources in one sentence and cite them as [1]. If they do not hold the answer, say: " + NOT_FOUND
)
CHAT_QUESTION = (  # lm-eval's YAML quotes it so that each \n is two characters, and so they are here
    r"Given the following question and four candidate answers (A, B, C and D), choose the best answer.\nQuestion: "
)
CHAT_ENDING = (
    r'\nYour response should end with "The best answer is [the_answer_letter]" where the [the_answer_letter] is one of '
    "A, B, C or D."
)
CHAT_OPENING = "The best answer is"  # of the assistant's turn

IM_START, IM_END, END_OF_TEXT = "<|im_start|>", "<|im_end|>", "<|endoftext|>"


class Message(TypedDict):
    """One turn of a conversation: `role` is system, user or assistant."""

    role: str
    content: str


def ask_messages(question: str) -> list[Message]:
    """The messages of a question answered in words: the page's, open training rows' and the chat cloze's."""
    return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": question.strip()}]


def conversation_messages(turns: Sequence[tuple[str, str]], question: str) -> list[Message]:
    """The messages of a question that follows earlier ones, given as (question, answer) in their order."""
    system, asked = ask_messages(question)
    earlier = [
        Message(role=role, content=text.strip())
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return [system, *earlier, asked]


def letter_messages(question: str, choices: Sequence[str], labels: Sequence[str]) -> list[Message]:
    """The messages of a multiple-choice question whose options are shown; the answer is one of the labels."""
    options = "\n".join(f"{label}. {choice}" for label, choice in zip(labels, choices, strict=True))
    return ask_messages(f"{question.strip()}\n\n{options}\n\nAnswer with the label of the right option only.")


def chat_messages(question: str, choices: Sequence[str]) -> list[Message]:
    """The messages of lm-eval 0.4.13's `arc_challenge_chat`: at most four options, by the letters A to D."""
    options = "".join(rf"\n{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False))
    return ask_messages(f"{CHAT_QUESTION}{question.strip()}{options}{CHAT_ENDING}")


def sources_messages(question: str, sources: Sequence[tuple[str, str]]) -> list[Message]:
    """The messages of a question answered from passages, given as (title, text) and cited by number from [1].

    A passage is one line, so that none can begin another or end the list, and its own marks such as [12] become (12),
    so that a number in brackets is always one of ours.
    """
    shown = "\n\n".join(f"[{place}] {_as_line(*source)}" for place, source in enumerate(sources, start=1))
    return ask_messages(f"Sources:\n\n{shown}\n\nQuestion: {' '.join(question.split())}\n\n{SOURCES_TASK}")


def _as_line(title: str, text: str) -> str:
    line = " ".join(f"{title}: {text}".split())
    return re.sub(r"\[(\d[\d\s,–-]*)\]", r"(\1)", line)


def plain_cloze(question: str) -> str:
    """The plain-text context of lm-eval's `arc_easy` and `arc_challenge`; a choice follows after one space."""
    return f"Question: {question}\nAnswer:"


def plain_letter(question: str, choices: Sequence[str], labels: Sequence[str]) -> str:
    """The plain-text context of lm-eval's `mmlu`, for any labels and number of options; a label follows a space."""
    options = "\n".join(f"{label}. {choice}" for label, choice in zip(labels, choices, strict=True))
    return f"{question.strip()}\n{options}\nAnswer:"


@dataclass(frozen=True)
class PromptEncoder:
    """Messages → token ids. `plain` must never parse special tokens; ids of the control tokens are given.

    Text is brought into Unicode's form NFC first: Qwen2's tokenizer does so in transformers, and llama.cpp does not.
    """

    plain: Callable[[str], list[int]]
    im_start: int
    im_end: int

    def tokenize(self, text: str) -> list[int]:
        """Ids of text, none of which is a control token's."""
        return self.plain(unicodedata.normalize("NFC", text))

    def turns(self, messages: Sequence[Message]) -> list[int]:
        """Ids of whole turns, in order."""
        ids: list[int] = []
        for message in messages:
            ids += [self.im_start, *self.tokenize(f"{message['role']}\n{message['content']}"), self.im_end]
            ids += self.tokenize("\n")
        return ids

    def prompt(self, messages: Sequence[Message], after: Sequence[int] = ()) -> list[int]:
        """Ids of the messages followed by the opening of the assistant's turn; `after` are ids of earlier turns."""
        return [*after, *self.turns(messages), self.im_start, *self.tokenize("assistant\n")]

    def completion(self, text: str) -> list[int]:
        """Ids of an assistant's answer with the end of its turn, as training sees it."""
        return [*self.tokenize(text.strip()), self.im_end]

    @classmethod
    def from_transformers(cls, tokenizer: Any) -> PromptEncoder:
        """From a transformers tokenizer (typed loosely: this package does not import transformers).

        Raises ValueError where the tokenizer has no ChatML control tokens, or an added token of one character.
        """
        start, end = (_control_id(tokenizer, token) for token in (IM_START, IM_END))

        def tokenize(text: str) -> list[int]:
            return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

        return cls(as_plain_text(tokenize, tokenizer.get_added_vocab()), start, end)


def _control_id(tokenizer: Any, token: str) -> int:
    number = tokenizer.get_vocab().get(token)
    if number is None:
        raise ValueError(f"the tokenizer has no {token}: the base model is not a ChatML model such as Qwen2.5-Instruct")
    return number


def as_plain_text(tokenize: Callable[[str], list[int]], added: Iterable[str]) -> Callable[[str], list[int]]:
    """Wrap `tokenize` so that text which spells an added token stays text.

    Tokenizers that parse no special tokens still match added ones not marked special: in Qwen2.5 `<tool_call>`, and in
    transformers `<|fim_prefix|>` too. The text is cut inside every one, overlapping ones included, so that no piece
    holds any: where the token's first run of letters ends, since Qwen2's pre-tokenizer starts anew there in any case
    and the ids are those of plain byte-level BPE; after its first character where there is no such place. Raises
    ValueError for an added token of one character, which cannot be cut.
    """
    places = {form: _cut(form) for token in added for form in (token, unicodedata.normalize("NFC", token))}

    def plain(text: str) -> list[int]:
        cuts = {start + place for token, place in places.items() for start in _starts(text, token)}
        edges = [0, *sorted(cuts), len(text)]
        return [number for start, end in itertools.pairwise(edges) for number in tokenize(text[start:end])]

    return plain


def _cut(token: str) -> int:
    """Where text that spells the token is cut."""
    if len(token) < 2:
        raise ValueError(f"the added token {token!r} is too short to be told from text; take a tokenizer without it")
    found = re.search(r"[^\W\d_]+(?=[\W\d_])", token)
    return found.end() if found else 1


def _starts(text: str, token: str) -> Iterator[int]:
    """Every place where the token begins in the text."""
    start = text.find(token)
    while start >= 0:
        yield start
        start = text.find(token, start + 1)


def prompt_sha256(ids: Sequence[int]) -> str:
    """Identity of a prompt as the model reads it: SHA-256 of its ids in decimal, joined by spaces."""
    return hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()
