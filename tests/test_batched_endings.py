"""Many answers at once: one that is interrupted, fails or is closed ends without harm to the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import pytest

from qa.engine import Aborted, Chunk, Engine, Generation
from qa.llama import Context
from qa.prompts import Message, ask_messages
from tests.batching import QUESTIONS, begin, finish, text, write
from tests.tiny import tiny_gguf, tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batched") / "model"
    tiny_model(folder)
    return tiny_gguf(folder, folder.parent / "tiny.gguf")


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    with Engine.load(path, n_ctx=1024, parallel=4) as engine:
        yield engine


def test_an_interrupted_answer_leaves_the_others_as_they_are(engine: Engine) -> None:
    alone = [write(engine, question) for question in QUESTIONS]
    generations = [begin(engine, question) for question in QUESTIONS]
    chunks: dict[Generation, list[Chunk]] = {}
    while len(generations[1].written) < 5:
        for generation, chunk in engine.step():
            chunks.setdefault(generation, []).append(chunk)
    engine.interrupt(generations[1])
    engine.interrupt(generations[1])
    [(stopped, last)] = engine.step()
    assert (stopped, last.state, last.finish, last.tokens) == (generations[1], "done", "cancelled", 5)
    assert engine.free == 1
    finish(engine, chunks)
    for number in (0, 2, 3):
        assert text(chunks[generations[number]]) == alone[number]
    engine.interrupt(generations[0])  # over: nothing to end
    assert write(engine, QUESTIONS[1]) == alone[1]


def test_a_computation_that_serves_one_alone_is_aborted_and_rewound(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ask_messages("another " * 70)
    expected = write(engine, long)
    with pytest.MonkeyPatch.context() as patch:
        context, aborted = engine._slots._context, []
        decode = context.decode

        def interrupted(*work: Any) -> None:
            thread = threading.Thread(target=engine.interrupt, args=(generation,))
            thread.start()
            thread.join()
            try:
                decode(*work)
            except Aborted:
                aborted.append(True)
                raise

        patch.setattr(context, "decode", interrupted)
        generation = begin(engine, ask_messages("corpus " + "another " * 70))
        [(_, chunk)] = engine.step()
    assert aborted == [True]
    assert chunk.finish == "cancelled"
    assert chunk.read_tokens < chunk.prompt_tokens - 50  # of the chunk nothing counts
    assert engine.free == 4
    assert write(engine, long) == expected


@pytest.fixture
def wide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A model that takes a while for a prompt, which it reads in two parts of one computation."""
    tiny_model(tmp_path / "model", layers=4, width=256)
    monkeypatch.setattr("qa.slots.CHUNK_SECONDS", 1e9)
    monkeypatch.setattr("qa.slots.SLOT_BATCH", 512)
    with Engine.load(tiny_gguf(tmp_path / "model", tmp_path / "wide.gguf"), n_ctx=1024, parallel=4) as engine:
        engine._slots._chunk = 512
        yield engine


class Watched:
    """A context's `decode`: how long each took, and what one that was stopped in its middle left in the cache."""

    def __init__(self, context: Context) -> None:
        self.context, self.decode, self.begun = context, context.decode, threading.Event()
        self.seconds: list[float] = []
        self.left = 0

    def __call__(self, tokens: list[int], positions: list[int], sequences: list[int], wanted: list[int]) -> None:
        asked_before, started = self.context._flag.raw[0], time.perf_counter()
        self.begun.set()
        try:
            self.decode(tokens, positions, sequences, wanted)
        except Aborted:
            self.left = 0 if asked_before else held(self.context, sequences[0]) - positions[0]
            raise
        finally:
            self.seconds.append(time.perf_counter() - started)


def held(context: Context, sequence: int) -> int:
    return llama_cpp.llama_memory_seq_pos_max(context.memory, sequence) + 1


def interrupted_after(engine: Engine, watched: Watched, delay: float, messages: list[Message]) -> Chunk:
    """The end of an answer that another thread interrupts so long after its first computation began."""

    def interrupt() -> None:
        watched.begun.wait()
        time.sleep(delay)
        engine.interrupt(generation)

    watched.begun.clear()
    generation = begin(engine, messages)
    threading.Thread(target=interrupt, daemon=True).start()
    return finish(engine)[generation][-1]


def forget(engine: Engine) -> None:
    engine._slots._context.forget(-1)
    for slot in engine._slots._slots:
        slot.past = []


def test_what_an_aborted_computation_left_in_the_cache_is_dropped(
    wide: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, long = wide._slots._context, ask_messages("another " * 85)
    count, watched = len(wide.encoder.prompt(long)), Watched(context)
    assert 400 < count <= 512
    monkeypatch.setattr(context, "decode", watched)
    fresh = write(wide, long, max_tokens=8)
    for attempt in range(100):  # until the first part was computed and the second was not
        forget(wide)
        last = interrupted_after(wide, watched, watched.seconds[0] * (0.5 + 0.05 * (attempt % 10)), long)
        if watched.left:
            break
    assert watched.left == 256
    assert (last.finish, last.read_tokens, last.prompt_tokens) == ("cancelled", 0, count)
    assert [held(context, sequence) for sequence in range(4)] == [0] * 4
    assert write(wide, long, max_tokens=8) == fresh


def test_a_computation_shared_with_others_is_not_aborted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (begin(engine, question) for question in QUESTIONS[:2])
    while not second.written:
        engine.step()
    decode, counts = engine._slots._context.decode, (len(first.written), len(second.written))
    monkeypatch.setattr(engine._slots._context, "decode", lambda *work: engine.interrupt(first) or decode(*work))
    news = dict(engine.step())
    assert (news[first].finish, news[first].tokens) == ("cancelled", counts[0])
    assert (news[second].finish, news[second].tokens) == ("", counts[1] + 1)


def test_a_failed_computation_ends_its_answers_and_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = write(engine, QUESTIONS[0])

    def fail(*_: Any) -> None:
        raise RuntimeError("llama_decode returned -3")

    generation = begin(engine, QUESTIONS[0])
    with monkeypatch.context() as patch:
        patch.setattr(engine._slots._context, "decode", fail)
        with pytest.raises(RuntimeError, match="returned -3"):
            engine.step()
    assert (generation.ended, engine.free) == (True, 4)
    assert write(engine, QUESTIONS[0]) == expected


def test_a_closed_engine_says_so_and_ends_what_was_begun(path: Path) -> None:
    engine = Engine.load(path, n_ctx=256, parallel=2)
    generation = begin(engine, QUESTIONS[0])
    engine.step()
    engine.close()
    engine.close()
    assert generation.ended
    assert not engine.busy
    engine.interrupt(generation)
    for call in (engine.step, lambda: begin(engine, QUESTIONS[0])):
        with pytest.raises(RuntimeError, match="is closed"):
            call()
