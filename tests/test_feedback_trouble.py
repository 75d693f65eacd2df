"""Feedback whose Hub hangs, turns public or holds anything at all: the page goes on, says so, and ends when told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from local_hub.faults import Around, fail
from local_hub.testing import RunningHub, running_hub
from qa.ask_settings import AskSettings
from space.feedback import Feedback
from space.settings import Settings
from tests.publishing import ROOT
from tests.test_feedback import CLIENT, DATA, client, kept

CREATE = "/api/repos/create"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


class Hang:
    """A Hub that takes requests whose path has `word` in it, and leaves so many of them waiting until `free` is set."""

    def __init__(self, word: str, times: int = 1000) -> None:
        self.word, self.times, self.free, self.held = word, times, False, 0

    def __call__(self, method: str, path: str) -> Around | None:
        return Around(self._holding) if self.word in path and self.held < self.times else None

    def _holding(self, app: Any) -> Callable[..., Awaitable[None]]:
        async def holding(scope: Any, receive: Any, send: Any) -> None:
            self.held += 1
            while not self.free:
                await asyncio.sleep(0.05)
            await app(scope, receive, send)

        return holding


def ended(hub: RunningHub, home: Path, hang: Hang, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, for which it has 40 s, against a Hub that hangs."""
    home.mkdir()
    hub.faults.append(hang)
    environment = {**os.environ, **hub.environment(home), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    try:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)
    finally:
        hang.free = True  # or its server could not end


ENDING = """
import signal
feedback_store.LAST_PUSH = 2.0
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
try:
    print(vote())
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
finally:
    feedback.close()
"""


@pytest.mark.parametrize("word", ["/api/repos/create", "/tree/", "/resolve/", "/preupload/", "/commit/"])
def test_a_hub_that_hangs_does_not_keep_the_process_from_ending(hub: RunningHub, tmp_path: Path, word: str) -> None:
    past(hub, b"{}\n")
    hang = Hang(word)
    done = ended(hub, tmp_path / "home", hang, CLIENT + ENDING)
    assert hang.held > 0
    assert (done.returncode, done.stdout) == (7, "Counted, and kept for the project.\n")
    assert done.stderr.count(f"{DATA}: the Hub hangs; feedback stays in ") == 1
    assert "Traceback" not in done.stderr


def past(hub: RunningHub, content: bytes) -> HfApi:
    """A private data set that holds one file already."""
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    api.create_repo(DATA, repo_type="dataset", private=True)
    api.upload_file(path_or_fileobj=content, path_in_repo="old.jsonl", repo_id=DATA, repo_type="dataset")
    return api


def test_a_hub_that_says_nothing_for_long_is_told_of_and_tried_again(hub: RunningHub, tmp_path: Path) -> None:
    wait = 'until(lambda: "could not be reached (ReadTimeout)" in feedback.problem)'
    body = f"vote()\n{wait}\nuntil(lambda: not feedback.problem)\nfeedback.close()\nprint('told')"
    start = CLIENT.replace("feedback = ", "feedback_store.SILENCE = 0.5\nfeedback = ")
    done = ended(hub, tmp_path / "home", Hang("/commit/", times=1), start + body)
    assert done.stdout == "told\n", done.stderr
    assert len(kept(hub)) == 1


def test_the_past_is_counted_once_however_often_the_hub_fails(hub: RunningHub, tmp_path: Path) -> None:
    past(hub, json.dumps({"kind": "vote", "choice": "tuned"}).encode())
    hub.faults.append(fail("POST", CREATE, status=500, nth=2, times=1))  # the first is ours, the second the library's
    body = "until(lambda: feedback._store._pusher)\nprint(feedback.tally())\nfeedback.close()"
    assert client(hub, tmp_path / "home", body).strip() == "Tally(base=0, tuned=1, ties=0)"
    assert hub.faults[0].seen > 2


def test_a_data_set_made_public_gets_nothing_more(hub: RunningHub, tmp_path: Path) -> None:
    body = f"""
from huggingface_hub import HfApi
vote()
until(lambda: feedback._store._pusher and feedback._store._pusher.last_uploaded)
HfApi().update_repo_settings("{DATA}", repo_type="dataset", visibility="public")
vote("base")
until(lambda: feedback.problem)
print(feedback.problem)
feedback.close()
"""
    told = client(hub, tmp_path / "home", body)
    assert told.strip() == f"{DATA} is public, so nothing is sent there; make it private"
    assert [row["choice"] for row in kept(hub)] == ["tuned"]


def test_lines_that_cannot_be_read_are_no_rows(hub: RunningHub, tmp_path: Path) -> None:
    past(hub, b"[" * 200_000 + b'\n{"kind": "vote", "choice": "base"}\n')
    body = "until(lambda: feedback.tally().base)\nprint(feedback.tally())\nfeedback.close()"
    assert client(hub, tmp_path / "home", body).strip() == "Tally(base=1, tuned=0, ties=0)"


@pytest.mark.parametrize("place", ["HfApi.create_repo", "HfApi.create_commit"])
def test_a_fault_of_ours_is_told_and_logged_and_the_thread_goes_on(hub: RunningHub, tmp_path: Path, place: str) -> None:
    body = f"""
from huggingface_hub import HfApi
works, failed = {place}, []
def fails(*args, **options):
    failed.append(1)
    raise KeyError("secret")
{place} = fails
vote()
until(lambda: feedback.problem)
print(feedback.problem)
until(lambda: len(failed) > 1)
{place} = works
until(lambda: not feedback.problem)
feedback.close()
"""
    start = f"import logging\nlogging.disable(logging.CRITICAL)\n{body}"
    told = client(hub, tmp_path / "home", start)
    assert told.strip() == f"{DATA}: feedback cannot be sent (KeyError); see the server's log"
    assert len(kept(hub)) == 1


@pytest.mark.parametrize("name", ["me/foo--bar", "me/foo.git", "me/" + "x" * 97])
def test_a_name_that_the_hub_does_not_take_keeps_nothing_and_says_so(monkeypatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    feedback = Feedback(Settings.read({"FOOTNOTE_FEEDBACK": name}))
    assert feedback.problem == (
        f"FOOTNOTE_FEEDBACK={name!r} is no data set's name, so no feedback is kept; set it to another"
    )
    assert feedback.configured is False
    assert feedback.thumb(True, "up", "q", "a", "", AskSettings()) == "Thank you. This copy keeps no feedback."
    given = {"question": "q", "base": "b", "tuned": "t", "settings": AskSettings()}
    assert feedback.vote(consent=True, choice="tuned", **given) == "Counted. Nothing is stored."
    feedback.close()
    assert list(tmp_path.iterdir()) == []
