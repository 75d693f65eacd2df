"""Votes and thumbs: what is kept, with whose consent, where it goes, and what a Hub in trouble changes."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from local_hub.faults import Around, fail, lose_answer
from local_hub.testing import RunningHub, running_hub
from qa.ask_settings import AskSettings
from space import feedback as feedback_module
from space import feedback_store
from space.credits import Credit
from space.feedback import Feedback, Tally
from space.settings import Settings
from tests.publishing import command

DATA = "demo/footnote-feedback"
COMMIT = "/api/datasets/.*/commit/"
CLIENT = f"""
import os, sys, time
from pathlib import Path
from qa.ask_settings import AskSettings
from space import feedback_store
from space.feedback import Feedback
from space.settings import Settings

feedback_store.MINUTES = 0.005
feedback = Feedback(Settings.read({{"FOOTNOTE_FEEDBACK": "{DATA}"}}))

def vote(choice="tuned", consent=True, question="What is LoRA?", **changes):
    answers = {{"base": "An <adapter>.", "tuned": "Zwei Matrizen, \\u00fcbrigens."}} | changes
    return feedback.vote(consent=consent, choice=choice, question=question, settings=AskSettings.greedy(), **answers)

def until(condition):
    for _ in range(400):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError((feedback.problem, feedback.tally()))
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub") as running:
        yield running


def client(hub: RunningHub, home: Path, body: str, token: str | None = None) -> str:
    """Run a program against this Hub; what it printed. What it logged stays in no file, and must hold no token."""
    home.mkdir(exist_ok=True)
    done = command(hub, home, "-c", CLIENT + body, token=token)
    assert done.returncode == 0, done.stderr
    assert hub.write_token not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done.stdout


def kept(hub: RunningHub) -> list[dict[str, Any]]:
    """All rows of the data set."""
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    rows = []
    for name in api.list_repo_files(DATA, repo_type="dataset"):
        if name.endswith(".jsonl"):
            path = api.hf_hub_download(DATA, name, repo_type="dataset", cache_dir=hub.store.root / "read")
            rows += [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return rows


def test_rows_arrive_in_a_private_data_set_as_they_were_given(hub: RunningHub, tmp_path: Path) -> None:
    body = """
print(vote(), vote("bad", question="Und so?"), vote("base", consent=False), sep="\\n")
print(feedback.thumb(True, "down", "Why?", "Because.", "Too short", AskSettings(seed=7)))
feedback.close()
print(feedback.tally(), feedback.problem)
"""
    lines = client(hub, tmp_path / "home", body).splitlines()
    assert lines[:3] == ["Counted, and kept for the project."] * 2 + ["Counted. Nothing is stored."]
    assert lines[3:] == ["Thank you, and kept for the project.", "Tally(base=1, tuned=1, ties=1) "]
    first, second, thumb = kept(hub)
    served = Settings.read({})
    assert first == {
        "schema": 1,
        "kind": "vote",
        "date": datetime.now(UTC).date().isoformat(),
        "question": "What is LoRA?",
        "answers": {"base": "An <adapter>.", "tuned": "Zwei Matrizen, übrigens."},
        "models": {
            "base": {"repository": served.base.repository, "revision": "main"},
            "tuned": {"repository": served.model.repository, "revision": "main"},
        },
        "settings": AskSettings.greedy().as_dict(),
        "choice": "tuned",
        "comment": "",
    }
    assert (second["question"], second["choice"]) == ("Und so?", "bad")
    assert (thumb["kind"], thumb["choice"], thumb["comment"]) == ("thumb", "down", "Too short")
    assert thumb["answers"] == {"base": "", "tuned": "Because."}
    assert HfApi(endpoint=hub.endpoint, token=hub.write_token).dataset_info(DATA).private is True


def test_the_end_of_the_process_sends_what_waits(hub: RunningHub, tmp_path: Path) -> None:
    body = "until(lambda: feedback._store._pusher)\nfeedback_store.MINUTES = 5\nvote()\nfeedback.close()"
    client(hub, tmp_path / "home", body)
    assert [row["choice"] for row in kept(hub)] == ["tuned"]


@pytest.mark.parametrize("fault", [fail, lose_answer], ids=["refused", "landed, answer lost"])
def test_a_hub_that_fails_twice_loses_no_row_and_doubles_none(
    hub: RunningHub, tmp_path: Path, fault: Callable[..., Any]
) -> None:
    hub.faults.append(fault("POST", COMMIT, status=500, times=2))
    body = """
for number in range(5):
    vote(question=f"Question {number}")
until(lambda: "500" in feedback.problem)
print(feedback.problem)
for number in range(5, 10):
    vote(question=f"Question {number}")
until(lambda: not feedback.problem)
feedback.close()
"""
    told = client(hub, tmp_path / "home", body)
    assert told.strip() == f"{DATA}: the Hub answered 500; feedback is kept here and sent later"
    assert [row["question"] for row in kept(hub)] == [f"Question {number}" for number in range(10)]


def test_a_data_set_that_cannot_be_made_at_first_is_made_later(hub: RunningHub, tmp_path: Path) -> None:
    hub.faults.append(fail("POST", "/api/repos/create", status=500, times=3))
    body = "vote()\nuntil(lambda: feedback._store._pusher)\nfeedback.close()"
    client(hub, tmp_path / "home", body)
    assert len(kept(hub)) == 1


@pytest.mark.parametrize(("token", "status"), [("", 401), ("read", 403)])
def test_without_rights_the_page_goes_on_and_a_later_process_sends_the_rows(
    hub: RunningHub, tmp_path: Path, token: str, status: int
) -> None:
    body = "until(lambda: feedback.problem)\nprint(vote())\nprint(feedback.problem)\nprint(feedback.tally())"
    told = client(hub, tmp_path / "home", body, token=hub.read_token if token else "").splitlines()
    assert told[0] == "Counted, and kept for the project."
    assert told[1] == f"{DATA}: the Hub refuses this copy ({status}); set HF_TOKEN to a token that may write there"
    body = "until(lambda: feedback.tally().tuned)\nvote('base')\nfeedback.close()\nprint(feedback.tally())"
    assert client(hub, tmp_path / "home", body).strip() == "Tally(base=1, tuned=1, ties=0)"
    assert sorted(row["choice"] for row in kept(hub)) == ["base", "tuned"]


def test_the_tally_begins_with_what_the_data_set_holds(hub: RunningHub, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.write_token)
    api.create_repo(DATA, repo_type="dataset", private=True)
    rows = [{"kind": "vote", "choice": choice} for choice in ("tuned", "tuned", "base", "tie", "bad", "hacked", ["x"])]
    lines = [json.dumps(row) for row in [*rows, {"kind": "thumb", "choice": "up"}, "text", None]] + ["{broken", "\x80"]
    api.upload_file(
        path_or_fileobj="\n".join(lines).encode("latin-1"), path_in_repo="old.jsonl", repo_id=DATA, repo_type="dataset"
    )
    body = "vote('base')\nuntil(lambda: feedback.tally().tuned)\nprint(feedback.tally())\nfeedback.close()"
    assert client(hub, tmp_path / "home", body).strip() == "Tally(base=2, tuned=2, ties=2)"


def test_nothing_is_sent_to_a_public_data_set(hub: RunningHub, tmp_path: Path) -> None:
    HfApi(endpoint=hub.endpoint, token=hub.write_token).create_repo(DATA, repo_type="dataset", private=False)
    body = "vote()\nuntil(lambda: feedback.problem)\nprint(feedback.problem)\nfeedback.close()"
    assert client(hub, tmp_path / "home", body).strip() == (
        f"{DATA} is public, so nothing is sent there; make it private"
    )
    assert kept(hub) == []


class Wire:
    """Everything that clients send to the Hub: paths, headers and bodies."""

    def __init__(self) -> None:
        self.sent = b""

    def __call__(self, method: str, path: str) -> Around:
        return Around(lambda app: self._listening(app))

    def _listening(self, app: Any) -> Callable[..., Awaitable[None]]:
        async def listening(scope: Any, receive: Any, send: Any) -> None:
            self.sent += scope["raw_path"] + scope["query_string"] + b"".join(map(b": ".join, scope["headers"]))

            async def heard() -> Any:
                message = await receive()
                self.sent += message.get("body", b"")
                return message

            await app(scope, heard, send)

        return listening


PLANTED = ("203.0.113.77", "planted-session", "PlantedAgent", "planted-user")
VOTER = f"""
import gradio as gr
from dataclasses import replace
from types import SimpleNamespace
from space.answering import Answer
from space.blind import Comparison
from space.compare_frames import CompareTab, Parts

names = [name for name in Parts.__dataclass_fields__ if name != "columns"]
column = lambda: SimpleNamespace(head=object(), text=object(), marked=object(), line=object())
parts = SimpleNamespace(**{{name: object() for name in names}}, columns=(column(), column()))
models = SimpleNamespace(settings=Settings.read({{}}))
tab = CompareTab(None, SimpleNamespace(feedback=feedback, models=models), parts)
headers = {{"user-agent": "{PLANTED[2]}", "x-forwarded-for": "{PLANTED[0]}", "cookie": "{PLANTED[3]}"}}
raw = SimpleNamespace(client=SimpleNamespace(host="{PLANTED[0]}"), headers=headers, username="{PLANTED[3]}")
request = gr.Request(raw, username="{PLANTED[3]}", session_hash="{PLANTED[1]}")
both = (Answer("First", "done", ""), Answer("Second", "done", ""))
tab.comparisons.put(request.session_hash, Comparison("Is it private?", AskSettings.greedy(), both, blind=True))
frame = tab.vote("first", True, request)
assert "kept for the project" in frame[parts.result]
feedback.close()
"""


def test_nothing_written_or_sent_tells_who_voted(hub: RunningHub, tmp_path: Path) -> None:
    wire = Wire()
    hub.faults.append(wire)
    client(hub, tmp_path / "home", VOTER)
    (file,) = (tmp_path / "home" / "footnote-feedback").rglob("*.jsonl")
    assert kept(hub)[0]["question"] == "Is it private?"
    assert base64.b64encode(file.read_bytes()) in wire.sent  # nothing but the file, in the form that commits have
    for word in PLANTED:
        assert word.encode() not in wire.sent
        assert word.encode() not in file.read_bytes() + file.name.encode()
    assert file.stat().st_mtime < 10**6  # nor does the folder tell when


def test_without_a_data_set_votes_are_counted_and_nothing_is_written(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    feedback = Feedback(Settings.read({}))
    assert (feedback.configured, feedback.repository, feedback.problem) == (False, "", "")
    given = {"question": "q", "base": "b", "tuned": "t", "settings": AskSettings.greedy()}
    assert feedback.vote(consent=True, choice="tuned", **given) == "Counted. Nothing is stored."
    assert feedback.thumb(True, "up", "q", "a", "", AskSettings()) == "Thank you. This copy keeps no feedback."
    assert feedback.tally() == Tally(tuned=1)
    with pytest.raises(ValueError, match="no choice"):
        feedback.vote(consent=True, choice="both", **given)
    with pytest.raises(ValueError, match="no thumb"):
        feedback.thumb(True, "sideways", "q", "a", "", AskSettings())
    feedback.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unreached(monkeypatch, tmp_path: Path) -> Feedback:
    """Feedback whose Hub is not there, in a folder of the test's."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(feedback_store, "set_client_factory", lambda _: None)  # it is the whole process's
    commit = Credit("Base model", "demo/base", "c" * 40, "")
    return Feedback(Settings.read({"FOOTNOTE_FEEDBACK": DATA}), {"base": commit})


def thumb(feedback: Feedback, **changes: str) -> str:
    given = {"question": "q", "answer": "a", "comment": "c", **changes}
    return feedback.thumb(True, "up", **given, settings=AskSettings())


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.rglob("*.jsonl") for line in path.read_bytes().splitlines()]


def test_rows_are_bounded_and_are_text_for_every_reader(unreached: Feedback, tmp_path: Path) -> None:
    thumb(unreached, question="\ud800" + "q" * 700, answer="ä" * 9000, comment="\u2028" * 501)
    (row,) = rows(tmp_path)
    assert row["question"] == "?" + "q" * 599
    assert (len(row["answers"]["tuned"]), len(row["comment"])) == (4000, 500)
    assert row["models"]["base"]["revision"] == "c" * 40
    assert row["models"]["tuned"]["revision"] == "main"


def test_a_day_has_room_for_so_many_rows(unreached: Feedback, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(feedback_module, "ROWS_A_DAY", 3)
    lines = [thumb(unreached, question=str(number)) for number in range(5)]
    assert lines[3:] == ["Thank you, but not kept: today's room for kept feedback is used up."] * 2
    assert [row["question"] for row in rows(tmp_path)] == ["0", "1", "2"]


def test_a_file_that_has_grown_is_followed_by_another(unreached: Feedback, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(feedback_store, "FILE_BYTES", 2000)
    for number in range(10):
        thumb(unreached, question=str(number))
    assert len(list(tmp_path.rglob("*.jsonl"))) > 2
    assert sorted(row["question"] for row in rows(tmp_path)) == [str(number) for number in range(10)]


def test_a_disk_that_takes_nothing_is_told_and_the_page_goes_on(unreached: Feedback, tmp_path: Path) -> None:
    (tmp_path / "footnote-feedback").write_text("a file where the folder should be")
    assert thumb(unreached) == "Thank you, but not kept: this copy cannot store it now."
    assert "cannot be written" in unreached.problem
