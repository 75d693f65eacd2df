"""What tells questions apart: numbers and names. Two questions that differ in one are never the same question."""

from __future__ import annotations

import re

_EDGES = "\"'`“”‘’()[]{}<>,;:!?."
_ARTICLES = {"a", "an", "the"}


def signed_words(text: str) -> list[str]:
    """Words with their own signs (C++, A*, k-means), without articles and punctuation around them."""
    words = (word.strip(_EDGES).removesuffix("'s") for word in text.replace("’", "'").split())
    return [word for word in words if word and word.casefold() not in _ARTICLES]


def telling(*texts: str) -> frozenset[str]:
    """The numbers and names of texts, without case. A text's first word is spelled large whether it is one or not."""
    split = [signed_words(text) for text in texts]
    inner = (word for words in split for word in words[1:] if re.search(r"\d|[A-Z]", word))
    opening = (word for words in split for word in words[:1] if re.search(r"\d|.[A-Z]", word))
    return frozenset(word.casefold() for word in (*inner, *opening))
