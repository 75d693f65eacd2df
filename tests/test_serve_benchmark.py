"""The serving benchmark's own honesty: what it counts is what happened, and its verdicts follow its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import serve_one_stream, serve_report
from benchmarks.serve_interruption import Waits, waits
from benchmarks.serve_sides import our_side
from benchmarks.serve_visitors import ANSWER, Crowd, crowd
from benchmarks.serve_whole_page import Start
from jobs.gguf_export.writer import Provenance, write_gguf
from qa.prompts import Message
from qa.repack_probe import Choice, Speeds
from tests.tiny import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    tiny_model(folder, seed=1)  # one that writes to the end
    write_gguf(folder, folder / "tiny.gguf", "f16", Provenance("tiny"))
    return folder / "tiny.gguf"


def test_visitors_ask_questions_that_nobody_asked_before() -> None:
    asked: list[str] = []

    def ask(_visitor: str, messages: Sequence[Message]) -> Iterator[int]:
        asked.append(messages[-1]["content"])
        yield from (0, 1, 2, 7)

    found = [crowd(ask, visitors, subject) for subject in ("one", "two") for visitors in (1, 3)]
    assert len(set(asked)) == len(asked) == 2 * (3 + 9)
    assert [each.tokens for each in found] == [21, 63, 21, 63]
    assert all(len(each.firsts) == 3 * each.visitors for each in found)


def test_a_visitor_without_a_word_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="visitor-0 was given no token"):
        crowd(lambda *_: iter((0, 0)), 1, "nothing")


@pytest.mark.parametrize("parallel", [1, 4])
def test_our_side_answers_all_visitors(model: Path, parallel: int) -> None:
    with our_side(model, parallel, repack=False, threads=1) as ask:
        found = crowd(ask, 3, "any", questions=2)
    assert 0 < found.tokens <= 6 * ANSWER.max_tokens
    assert found.per_second == pytest.approx(found.tokens / found.seconds)


def test_one_stream_is_measured_on_prompts_of_the_lengths_it_names(model: Path, monkeypatch) -> None:
    read: list[int] = []
    speeds = serve_one_stream._speeds

    def spied(engine, prompt_tokens: int, tokens: int) -> tuple[float, float]:
        read.append(len(engine.encoder.prompt(serve_one_stream._messages(engine, prompt_tokens))))
        return speeds(engine, prompt_tokens, tokens)

    monkeypatch.setattr(serve_one_stream, "_speeds", spied)
    monkeypatch.setattr(serve_one_stream, "GENERATED", 1)
    found = serve_one_stream.ours(model, repack=False, threads=1)
    assert [60 < read[1] <= 64, 120 < read[2] <= 128, 250 < read[3] <= 256] == [True] * 3
    assert set(found) == {"prompt 64", "prompt 128", "prompt 256", "generation"}


def test_a_stop_counts_only_in_the_middle_of_a_prompt(model: Path) -> None:
    found = waits(model, repack=False, threads=1)
    assert len(found.stops) <= 10
    assert len(found.kept) == len(found.anew) == 5


def side(tokens: int, *firsts: float, visitors: int = 4) -> Crowd:
    return Crowd(visitors, tokens, 1.0, firsts)


def test_the_verdicts_follow_the_figures() -> None:
    def made(ours: int, turns: int) -> dict[str, list[Crowd]]:
        names = (serve_report.OURS, serve_report.TURNS, *serve_report.THEIRS)
        return {
            name: [side(tokens, 0.5, visitors=1), side(tokens, 1.0, 3.0)]
            for name, tokens in zip(names, (ours, turns, 100, 90), strict=True)
        }

    shown = serve_report.crowds([made(99, 76), made(99, 77)])
    assert "| 4 | 99.0 tok/s; 1.00 / 3.00 | 76.5 tok/s" in shown
    assert "0.99 (MISSED: 1.00)" in shown
    assert "four visitors: 1.29 (MISSED: 1.30) (1.29 to 1.30)" in shown
    assert "1.31 (met: 1.30)" in serve_report.crowds([made(131, 100)])


def test_a_ratio_just_below_its_goal_is_not_met() -> None:
    speeds = {"ours": [{"generation": 94.9}], "llama-bench": [{"generation": 100.0}]}
    assert "0.95 (MISSED: 0.95)" in serve_report.streams({False: speeds})


def test_the_other_lines_name_goals_and_figures() -> None:
    assert "10 ms is the goal: MISSED" in serve_report.stops(Waits((12.0, 13.0), (3.0,), (7.0,)))
    assert "4 s is the goal: met" in serve_report.stops(Waits((2.0, 13.0, 3.0), (3.0,), (7.0,)))
    assert "(MISSED), the page after 4.00 s" in serve_report.page(Start(2.5, 3.1, 4.0, 20.0, 10**9, 0.06))
    probed = Choice(True, Speeds(130.0, 15.0), Speeds(77.0, 20.5), 2.5)
    assert "repacked 77.0 and 20.5 (prompt and generation, tokens a second), 2.5 s: repacked" in serve_report.answer(
        probed
    )
