"""A damaged or foreign model on a real Hub: it is refused with its reason, and the copy that was good answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from local_hub.seeding import seed
from local_hub.testing import RunningHub, running_hub
from tests.publishing import command
from tests.space_world import BASE, DATA, INDEX, TUNED, publish
from tests.tiny import CHAT_TEMPLATE

CLIENT = """
import json, os
from qa.ask_settings import AskSettings
from space.ask import ask
from space.feedback import Feedback
from space.library import Library
from space.models import Models
from space.settings import Settings
from space.state import AppState
from space.stopping import Cancel
from space.visitors import Visitor, Visitors

settings = Settings.read(os.environ)
models = Models(settings)
state = AppState(models, Library(settings), Feedback(settings), Visitors())
models.start()
models._thread.join()
*_, answer = ask(state, Visitor("a", "b"), [], "What is LoRA?", AskSettings.greedy(16), Cancel())
tuned = models.parts()[0]
credit = models.credits.get("tuned")
print(json.dumps([tuned.phase, tuned.problem, tuned.notice, credit and credit.revision, answer.state, answer.text]))
models.close()
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    names = {"FOOTNOTE_MODEL": TUNED, "FOOTNOTE_BASE": BASE, "FOOTNOTE_DATA": DATA, "FOOTNOTE_INDEX": INDEX}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with running_hub(tmp_path / "hub") as hub:
        publish(hub.store, tmp_path / "world")
        yield hub


def run(hub: RunningHub, home: Path) -> list[str]:
    """A new process of the page: phase, problem and notice of the model, its revision, and what it answers."""
    home.mkdir(exist_ok=True)
    ended: subprocess.CompletedProcess[str] = command(hub, home, "-c", CLIENT)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_the_copy_that_was_good_answers_until_a_good_one_comes(world: RunningHub, tmp_path: Path) -> None:
    folder, home = tmp_path / "world" / TUNED, tmp_path / "home"
    (file,) = folder.glob("*.gguf")
    good = file.read_bytes()
    first = run(world, home)
    assert (first[0], first[1], first[2], first[4]) == ("ready", "", "", "cut")
    for damaged, reason in (
        (good[:-1000], "cut short"),
        (good.replace(b"<|im_start|>", b"<|in_start|>"), "no <|im_start|>"),
        (good.replace(CHAT_TEMPLATE.encode(), CHAT_TEMPLATE.replace("\\n", "\\t").encode()), "chat template"),
    ):
        assert damaged != good
        file.write_bytes(damaged)
        seed(world.store, folder, TUNED, "model")
        phase, problem, notice, revision, *answer = run(world, home)
        assert (phase, problem, revision, answer) == ("ready", "", first[3], first[4:])
        assert reason in notice
        assert f"Serves revision {first[3][:7]}, " in notice
    phase, problem, *_ = run(world, tmp_path / "another-home")  # nothing was ever good there
    assert (phase, "chat template" in problem) == ("failed", True)
    file.write_bytes(good)
    (folder / "note.txt").write_text("whole again")
    seed(world.store, folder, TUNED, "model")
    phase, _, notice, revision, *answer = run(world, home)
    assert (phase, notice, answer) == ("ready", "", first[4:])
    assert revision != first[3]
