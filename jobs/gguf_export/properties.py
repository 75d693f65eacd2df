"""The properties in which a GGUF file must be the merged model, in the order in which they are asked."""

from __future__ import annotations

from pathlib import Path

from jobs.errors import UserError

PROPERTIES = (
    "whole",  # nothing is cut off, and llama.cpp opens it
    "type",  # it is stored as its name promises
    "shape",  # llama.cpp builds the same model: layers, heads, context length, base of the positions
    "vocabulary",  # the same tokens, merges and control tokens
    "template",  # the same chat template, rendered to the same prompt by everything that renders it
    "tokens",  # the same ids for the same text, normalised and not
    "stop",  # the same tokens end an answer
    "weights",  # every tensor is the merged one, within what its type rounds away
    "numbers",  # the same log-probabilities of the first token
    "answers",  # the same greedy answers, but for near ties
    "accuracy",  # as many questions answered rightly
)


def refused(path: Path, name: str, what: str, mend: str = "export it again") -> UserError:
    """The error of a file that is not the merged model: which file, in which property, how, and what to do."""
    if name not in PROPERTIES:
        raise ValueError(f"{name} is none of {', '.join(PROPERTIES)}")
    return UserError(f"{path.name}: {name}: {what}; {mend}")
