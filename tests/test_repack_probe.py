"""Repacking is chosen where it is measured faster, and not measured where that would cost more than it gains."""

from __future__ import annotations

from pathlib import Path

import pytest

from qa import repack_probe
from qa.engine import Engine, ModelFileError
from qa.prompts import ask_messages
from qa.repack_probe import Choice, Speeds, choose, measure
from tests.tiny import tiny_gguf, tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe") / "model"
    tiny_model(folder)
    return tiny_gguf(folder, folder.parent / "tiny.gguf")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[bool, Speeds]:
    """What measuring gives, by whether it repacks; files count as large."""
    speeds = {False: Speeds(130.0, 15.0), True: Speeds(77.0, 20.5)}
    monkeypatch.setattr(repack_probe, "SMALL_FILE", 0)
    monkeypatch.setattr(repack_probe, "measure", lambda path, *, n_threads, repack: speeds[repack])
    return speeds


def test_repacking_is_chosen_where_answers_come_sooner(path: Path, measured: dict[bool, Speeds]) -> None:
    choice = choose(path, n_threads=2)
    assert (choice.repack, choice.plain, choice.repacked) == (True, measured[False], measured[True])
    assert choice.plain.seconds == pytest.approx(64 / 130 + 96 / 15)


@pytest.mark.parametrize(
    ("repacked", "chosen"),
    [(Speeds(18.1, 7.2), False), (Speeds(22.5, 7.6), False), (Speeds(24.0, 8.0), True), (Speeds(15.0, 8.0), False)],
)
def test_a_gain_below_a_twentieth_is_none(
    repacked: Speeds, chosen: bool, path: Path, measured: dict[bool, Speeds]
) -> None:
    measured[False], measured[True] = Speeds(22.5, 7.4), repacked
    assert choose(path, n_threads=2).repack is chosen


def test_on_a_busy_machine_the_second_way_is_not_timed(path: Path, measured: dict[bool, Speeds]) -> None:
    measured[False] = Speeds(12.3, 0.34)
    del measured[True]
    choice = choose(path, n_threads=2)
    assert (choice.repack, choice.plain, choice.repacked) == (False, Speeds(12.3, 0.34), None)


def test_a_small_file_is_not_measured(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repack_probe, "measure", lambda *_, **__: pytest.fail("it was measured"))
    assert choose(path, n_threads=2) == Choice(False, None, None, 0.0)


def test_where_memory_is_short_nothing_is_measured(
    path: Path, measured: dict[bool, Speeds], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack_probe, "free_memory", lambda: 2 * path.stat().st_size - 1)
    assert choose(path, n_threads=2) == Choice(False, None, None, 0.0)
    monkeypatch.setattr(repack_probe, "free_memory", lambda: 2 * path.stat().st_size)
    assert choose(path, n_threads=2).repack


@pytest.mark.parametrize(
    ("seconds", "prompts", "tokens"),
    [
        (0.25, 3, 3),  # the budget holds three of each
        (4.0, 1, 3),  # a slow machine: no more than is needed
        (0.125, 6, 6),
    ],
)
def test_timing_ends_with_its_budget(
    seconds: float, prompts: int, tokens: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[int] = []
    monkeypatch.setattr(repack_probe, "_seconds", lambda context, count: timed.append(count) or seconds)
    assert measure(path, n_threads=1, repack=False) == Speeds(64 / seconds, 1 / seconds)
    assert timed == [1, *[64] * prompts, *[1] * tokens]  # the first fetches the weights


def test_a_disturbed_computation_does_not_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([9.0, 0.2, 0.2, 0.2, 0.2, 0.05, 0.05, 0.65])
    monkeypatch.setattr(repack_probe, "_seconds", lambda context, count: next(seconds))
    assert measure(path, n_threads=1, repack=False) == Speeds(320.0, 20.0)


def test_a_model_is_timed_and_freed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repack_probe, "BUDGET", 0.01)
    closed = []
    for kind in ("Model", "Context"):
        close = getattr(repack_probe, kind).close
        monkeypatch.setattr(
            f"qa.repack_probe.{kind}.close", lambda self, close=close, kind=kind: closed.append(kind) or close(self)
        )
    for repack in (False, True):
        speeds = measure(path, n_threads=1, repack=repack)
        assert speeds.prompt > 0
        assert speeds.generation > 0
    assert closed == ["Context", "Model"] * 2


def test_a_damaged_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repack_probe, "SMALL_FILE", 0)
    page = tmp_path / "page.gguf"
    page.write_text("<html>", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"page.gguf: not a GGUF file"):
        choose(page, n_threads=1)


def test_repacked_and_mapped_weights_give_the_same_answers(path: Path) -> None:
    with Engine.load(path) as plain, Engine.load(path, repack=True) as repacked:
        for question in ("What is low-rank adaptation?", "Who introduced the transformer?"):
            messages = ask_messages(question)
            assert repacked.generate(messages, max_tokens=12) == plain.generate(messages, max_tokens=12)
