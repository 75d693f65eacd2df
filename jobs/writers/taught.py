"""Questions from a teacher: every passage is asked once, and of its reply the pairs of the right form are kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from jobs.asker import Asker, Reply, Request
from jobs.data_config import Writer
from jobs.documents import Rejection
from jobs.writers.pairs import (
    BadPairError,
    Pair,
    check_pair,
    pair_questions,
    read_pairs,
    reply_fault,
    reply_layout,
    teacher_messages,
)
from jobs.writers.written import Written
from qa.records import Passage

QUOTED = 2000  # characters of a refused reply that are kept


def write_taught(passages: Sequence[Passage], asker: Asker, *, writer: Writer, seed: int) -> Written:
    """Drafts, checked for their form alone: evidence is as the teacher gave it, and nothing is known to be true.

    Refused are passages that the budget left out (stage `budget`), replies without a pair (`reply`) and pairs of
    another form (`schema`).
    """
    written, taken = Written(), Counter[str]()
    pairs = 0
    for passage, reply in zip(passages, _replies(passages, asker, writer), strict=True):
        found, refused = _pairs(passage, reply, writer)
        pairs += len(found) + sum(entry.stage == "schema" for entry in refused)
        taken.update(entry.stage for entry in refused)
        written.rejected += refused
        for pair in found:
            written.questions += pair_questions(pair, passage, seed)
    asked = len(passages) - taken["budget"]
    written.funnel.add("passages asked", len(passages), taken["budget"])
    written.funnel.add("reply", asked, taken["reply"])
    written.funnel.add("schema", pairs, taken["schema"])
    written.usage = asker.usage.figures()
    return written


def _replies(passages: Sequence[Passage], asker: Asker, writer: Writer) -> Iterator[Reply]:
    layout = reply_layout(writer.kinds, writer.pairs_per_passage)
    fault = partial(reply_fault, kinds=writer.kinds)
    requests = (
        Request(teacher_messages(passage, writer.kinds, writer.pairs_per_passage), layout, fault)
        for passage in passages
    )
    return asker.ask_all(requests, "asking the teacher", total=len(passages))


def _pairs(passage: Passage, reply: Reply, writer: Writer) -> tuple[list[Pair], list[Rejection]]:
    """The pairs of a reply that have the right form, and what was refused of it."""
    if not reply.asked:
        return [], [Rejection(name=passage.id, reason=reply.problem, stage="budget")]
    if reply.problem:
        return [], [Rejection(name=passage.id, reason=reply.problem, stage="reply")]
    try:
        if not (values := read_pairs(reply.text)):
            raise BadPairError("no pair in the reply")
    except BadPairError as error:
        return [], [Rejection(name=passage.id, reason=str(error), stage="reply", text=reply.text[:QUOTED])]
    return _checked(passage, values, writer)


def _checked(passage: Passage, values: Sequence[dict[str, Any]], writer: Writer) -> tuple[list[Pair], list[Rejection]]:
    kept: dict[str, Pair] = {}
    refused = []
    for value in values:
        try:
            if len(kept) == writer.pairs_per_passage:
                raise BadPairError(f"the reply has more than the {len(kept)} pairs asked for")
            pair = check_pair(value, writer.kinds)
            if pair.question in kept:
                raise BadPairError("the question stands twice in the reply")
            kept[pair.question] = pair
        except BadPairError as error:
            refused.append(Rejection(name=passage.id, reason=str(error), stage="schema", text=_words(value)))
    return list(kept.values()), refused


def _words(value: dict[str, Any]) -> str:
    """A pair as JSON, so far as it is kept; nothing of one nested too deeply to be written."""
    try:
        return json.dumps(value, ensure_ascii=False)[:QUOTED]
    except RecursionError:
        return ""
