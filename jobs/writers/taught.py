"""Questions from a teacher: every passage is asked once, replies are kept over a kill, every pair is checked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs.documents import Rejection
from jobs.progress import bar
from jobs.step import CHECKPOINTS
from jobs.writers.offline import Written
from jobs.writers.pairs import BadPairError, check_pair, pair_questions, read_pairs, teacher_messages
from jobs.writers.teachers import Teacher
from jobs.writers.wording import normalised
from qa.records import Passage, Question

AT_ONCE = 8  # requests under way at a server, which batches them


def write_taught(
    passages: Sequence[Passage], teacher: Teacher, folder: Path, *, pairs_per_passage: int, seed: int, at_once: int
) -> Written:
    """Ask for every passage, and check what comes back. Replies are kept under `folder/checkpoints/`."""
    written, seen, counts = Written([], [], {}), set(), Counter[str]()
    for passage, reply in _replies(passages, teacher, folder, pairs_per_passage, at_once):
        counts["passages"] += 1
        try:
            pairs = read_pairs(reply)[:pairs_per_passage]
        except BadPairError as error:
            counts["replies_unread"] += 1
            written.rejected.append(Rejection(name=passage.id, reason=str(error)))
            continue
        counts["pairs"] += len(pairs)
        for pair in pairs:
            try:
                _keep(pair, passage, seed, seen, written.questions)
            except BadPairError as error:
                counts["pairs_rejected"] += 1
                written.rejected.append(Rejection(name=passage.id, reason=f"{error}: {pair.get('question')!s:.100}"))
    counts["questions_choice"] = sum(bool(question.choices) for question in written.questions)
    counts["questions_open"] = len(written.questions) - counts["questions_choice"]
    written.funnel = dict(counts)
    return written


def _keep(pair: dict, passage: Passage, seed: int, seen: set[str], questions: list[Question]) -> None:
    checked = check_pair(pair, passage)
    if (key := normalised(checked.question)) in seen:
        raise BadPairError("question was asked already")
    seen.add(key)
    questions.extend(pair_questions(checked, passage, seed))


def _replies(
    passages: Sequence[Passage], teacher: Teacher, folder: Path, count: int, at_once: int
) -> Iterator[tuple[Passage, str]]:
    """Each passage with its reply, in order; those that an earlier, killed run got are not asked for again."""
    store = folder / CHECKPOINTS / "replies.jsonl"
    store.parent.mkdir(exist_ok=True)
    known = _known(store)

    def ask(passage: Passage) -> str:
        return known[passage.id] if passage.id in known else _ask(teacher, passage, count)

    pool = ThreadPoolExecutor(at_once)
    with store.open("a", encoding="utf-8") as file, bar(len(passages), "asking the teacher", unit="passage") as moving:
        try:
            for passage, reply in zip(passages, pool.map(ask, passages), strict=True):
                if passage.id not in known:
                    file.write(json.dumps({"passage": passage.id, "reply": reply}) + "\n")
                    file.flush()
                moving.update()
                yield passage, reply
        finally:
            pool.shutdown(cancel_futures=True)


def _known(store: Path) -> dict[str, str]:
    if not store.is_file():
        return {}
    return {entry["passage"]: entry["reply"] for entry in _whole_lines(store.read_text(encoding="utf-8").split("\n"))}


def _whole_lines(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the line that was being written when the run was killed
            continue


def _ask(teacher: Teacher, passage: Passage, count: int) -> str:
    """The reply; one without pairs is asked for once more, in other words, as greedy teachers repeat themselves."""
    reply = teacher(teacher_messages(passage, count))
    try:
        read_pairs(reply)
    except BadPairError:
        return teacher(teacher_messages(passage, count, again=True))
    return reply
