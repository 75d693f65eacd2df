"""Earlier turns of a conversation: what of them a client may send, and which the model still reads."""

from __future__ import annotations

from collections.abc import Sequence

from qa.prompts import Message, PromptEncoder, conversation_messages
from space.answering import QuestionError, encodable

MOST_TURNS = 20  # earlier ones that are read
MOST_CHARACTERS = 4_000  # of a question or an answer among them: 300 tokens are about 1,200

Turn = tuple[str, str]  # what was asked, and what was answered


def check_turns(turns: object) -> list[Turn]:
    """The last earlier turns. Raises `QuestionError`; clients may send anything."""
    if not isinstance(turns, list | tuple):
        raise QuestionError("The conversation must be a list of pairs: a question and its answer.")
    return [_checked(turn) for turn in turns[-MOST_TURNS:]]


def _checked(turn: object) -> Turn:
    if not (isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)):
        raise QuestionError("Every turn of the conversation must be two texts: a question and its answer.")
    if any(len(text) > MOST_CHARACTERS for text in turn):
        raise QuestionError(f"A text of the conversation is longer than {MOST_CHARACTERS:,} characters; begin anew.")
    return encodable(turn[0]), encodable(turn[1])


def fitting_messages(
    encoder: PromptEncoder, turns: Sequence[Turn], question: str, *, window: int, answer: int
) -> list[Message]:
    """The messages of a follow-up, without the oldest turns where prompt and `answer` tokens pass the `window`.

    Each missing turn changes how the prompt begins, and the model reads all of it anew. So, once one must go, so many
    go that the rest fills half of the room; and as that is decided by the turns alone, the next follow-up begins as
    this one does.
    """
    start = 0
    for count in range(len(turns) + 1):
        asked = turns[count][0] if count < len(turns) else question
        room = window - answer
        if _length(encoder, turns[start:count], asked) > room:
            while start < count and _length(encoder, turns[start:count], asked) > room // 2:
                start += 1
    return conversation_messages(turns[start:], question)


def _length(encoder: PromptEncoder, turns: Sequence[Turn], question: str) -> int:
    return len(encoder.prompt(conversation_messages(turns, question)))
