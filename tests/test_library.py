"""The papers behind the page: what is found, what is refused, and an index that is absent, damaged or foreign."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qa.artifacts import ArtifactError
from qa.retrieval import MANIFEST, PASSAGES
from space import attempts, library
from space.library import MOST_HITS, Library, SearchError
from space.settings import Settings
from tests.space_published import passages, write_index

NAME = "FOOTNOTE_INDEX"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_index(tmp_path / "index")
    return tmp_path / "index"


def loaded(monkeypatch: pytest.MonkeyPatch, pull: Callable[..., Path]) -> Library:
    """A library that has settled, whose index `pull` fetches."""
    monkeypatch.setattr(library, "pull_index", pull)
    made = Library(Settings.read({NAME: "demo/papers", f"{NAME}_REVISION": "v1"}))
    made.start()
    assert made._thread is not None
    made._thread.join(20)
    assert made.settled
    return made


def test_passages_are_found_best_first(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: list[Any] = []

    def pull(repository: str, **options: Any) -> Path:
        asked.append((repository, options))
        return folder

    papers = loaded(monkeypatch, pull)
    assert asked == [("demo/papers", {"revision": "v1", "again": False})]
    assert papers.phase == "ready"
    hits = papers.search("Which weights stay frozen in low-rank adaptation?", 2)
    assert hits[0].passage == passages()[0]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert papers.search("zebra") == []
    assert papers.search("<|im_end|>", 1)[0].passage.title == "A hostile paper"
    assert len(papers.search("the weights attention tokens ignore", MOST_HITS)) == len(passages())
    papers.start()
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("query", "k", "words"),
    [
        ("", 5, "Say what to look for"),
        (" \n", 5, "Say what to look for"),
        (None, 5, "Say what to look for"),
        ("x" * 601, 5, "at most 600 characters; yours has 601"),
        ("x", 0, "from 1 to 20"),
        ("x", 21, "from 1 to 20"),
        ("x", 2.5, "from 1 to 20"),
        ("x", True, "from 1 to 20"),
        ("x", "5", "from 1 to 20"),
        ("x", float("nan"), "from 1 to 20"),
    ],
)
def test_a_search_is_bounded(monkeypatch: pytest.MonkeyPatch, folder: Path, query: Any, k: Any, words: str) -> None:
    papers = loaded(monkeypatch, lambda *_, **__: folder)
    with pytest.raises(SearchError, match=words):
        papers.search(query, k)


def test_nothing_is_searched_before_it_is_there() -> None:
    papers = Library(Settings.read({}))
    with pytest.raises(SearchError, match="still waiting"):
        papers.search("LoRA")
    assert papers.index is None


def test_a_copy_damaged_here_is_pulled_again(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    whole = (folder / PASSAGES).read_bytes()
    (folder / PASSAGES).write_bytes(whole[:-1] + b" ")

    def pull(repository: str, *, again: bool, **options: Any) -> Path:
        if again:
            (folder / PASSAGES).write_bytes(whole)
        return folder

    assert len(loaded(monkeypatch, pull).search("frozen")) == 1


def spoil(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / PASSAGES).write_text("{}"), "passages.jsonl: 2 bytes, but the manifest says"),
        (lambda folder: (folder / PASSAGES).unlink(), "passages.jsonl: cannot be read"),
        (lambda folder: spoil(folder, schema=2), "not the manifest of an index"),
        (lambda folder: spoil(folder, versions={"bm25s": "0.0.1", "PyStemmer": "1"}), "built with bm25s 0.0.1"),
        (lambda folder: spoil(folder, tokenizer={}), "another tokenizer"),
    ],
)
def test_a_damaged_or_foreign_index_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(folder)
    papers = loaded(monkeypatch, lambda *_, **__: folder)
    assert papers.phase == "failed"
    assert papers.problem.startswith("demo/papers@v1: ")
    assert words in papers.problem
    assert NAME in papers.problem
    assert str(folder) not in papers.problem
    assert "\n" not in papers.problem
    with pytest.raises(SearchError, match=words):
        papers.search("LoRA")


def test_what_failed_is_tried_anew(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refuse(*_: Any, **__: Any) -> Path:
        raise ArtifactError("demo/papers@v1: the Hub cannot be reached")

    papers = loaded(monkeypatch, refuse)
    assert papers.problem == "demo/papers@v1: the Hub cannot be reached"
    monkeypatch.setattr(library, "pull_index", lambda *_, **__: folder)
    assert papers.start() == "Tried 0 s ago; it can be tried again in 60 s."
    assert papers.phase == "failed"
    monkeypatch.setattr(attempts, "FIRST", 0.0)
    assert papers.start() == ""
    assert papers._thread is not None
    papers._thread.join(20)
    assert (papers.phase, papers.problem) == ("ready", "")


def test_a_fault_of_ours_is_logged_and_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def break_down(*_: Any, **__: Any) -> Path:
        raise ZeroDivisionError

    papers = loaded(monkeypatch, break_down)
    assert papers.problem == "demo/papers@v1: it failed to load (ZeroDivisionError); see the server's log"
    assert "ZeroDivisionError" in caplog.text
