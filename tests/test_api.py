"""The endpoints for programs: their names and types, what they answer, what they refuse, and that nobody is held up."""

from __future__ import annotations

import html
import json
import re
import subprocess
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from space import api
from space.about_views import programs
from space.api import Endpoints
from space.visitors import Visitors
from tests.api_client import get, ready, state_of
from tests.page_world import address, hub  # noqa: F401 - fixtures
from tests.space_fakes import FakeEngine, served
from tests.space_published import passages

QUESTION = "What does LoRA train, and what does it leave frozen?"
REQUEST = cast("gr.Request", SimpleNamespace(headers={}, session_hash="one", client=SimpleNamespace(host="127.0.0.1")))
PAGE = cast("gr.Blocks", SimpleNamespace())


@pytest.fixture(scope="module")
def client(address: str) -> Client:  # noqa: F811
    return Client(ready(address), verbose=False)


def test_every_function_has_a_typed_and_described_endpoint(client: Client) -> None:
    endpoints = json.loads(get(f"{client.src}gradio_api/info"))["named_endpoints"]
    assert {name: [given["parameter_name"] for given in told["parameters"]] for name, told in endpoints.items()} == {
        "/ask": ["question", "history", "temperature", "seed", "length"],
        "/compare": ["question", "temperature", "seed", "length"],
        "/search_papers": ["query", "k"],
        "/evaluate": ["number", "formulation", "sample"],
        "/state": [],
    }
    assert all(len(told["description"]) > 50 for told in endpoints.values())
    returned = {name: told["returns"][0]["type"]["type"] for name, told in endpoints.items()}
    assert returned == {
        "/ask": "string", "/compare": "object", "/search_papers": "array", "/evaluate": "object", "/state": "object"
    }  # fmt: skip
    assert [given["parameter_default"] for given in endpoints["/ask"]["parameters"]] == [None, None, 0.3, 0, 200]


def test_an_answer_streams_and_a_follow_up_takes_the_conversation(client: Client) -> None:
    texts = list(client.submit(QUESTION, length=24, api_name="/ask"))
    assert len(texts) > 5
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert client.predict(QUESTION, length=24, api_name="/ask") == texts[-1]
    turn = [QUESTION, "Two small matrices."]
    assert client.predict(QUESTION, [turn], length=24, api_name="/ask") != texts[-1]
    assert client.predict(QUESTION, length=24, seed=7, temperature=1.5, api_name="/ask") != texts[-1]


def test_both_models_answer_and_are_told_apart(client: Client) -> None:
    both = client.predict(QUESTION, length=24, api_name="/compare")
    assert set(both) == {"base", "tuned"}
    assert both["base"]["text"] != both["tuned"]["text"]
    assert {side["state"] for side in both.values()} <= {"done", "cut"}
    assert both["tuned"]["tokens"] <= 24


def test_papers_are_found(client: Client) -> None:
    found = client.predict("weights frozen low-rank", k=2, api_name="/search_papers")
    first = passages()[0]
    assert found[0]["score"] > 0
    assert {**found[0], "score": 0} == {
        "id": first.id, "title": first.title, "document": first.document, "section": "Abstract", "source": first.source,
        "licence": "CC-BY-4.0", "text": first.text, "score": 0,
    }  # fmt: skip
    hostile = client.predict("ignore", api_name="/search_papers")
    assert hostile[0]["text"] == passages()[3].text


def test_an_evaluation_streams_its_rows(client: Client) -> None:
    frames = list(client.submit(number=3, formulation="letter", api_name="/evaluate"))
    counts = [len(frame["rows"]) for frame in frames if frame["state"] != "queued"]
    assert counts == sorted(counts)
    last = frames[-1]
    assert (last["state"], last["questions"], len(last["rows"])) == ("done", 3, 3)
    right = sum(row["tuned"] == row["answer"] for row in last["rows"])
    assert (last["tuned"]["correct"], last["tuned"]["n"]) == (right, 3)


REFUSED = {
    "/ask": [
        ({"question": ""}, "Type a question first."),
        ({"question": "x" * 601}, "at most 600"),
        ({"question": 7}, "must be text"),
        ({"question": "Why?", "history": [["a"]]}, ""),
        ({"question": "Why?", "history": "abc"}, ""),
        ({"question": "Why?", "history": [[1, {"a": 2}]]}, ""),
    ],
    "/compare": [({"question": "x" * 601}, "at most 600")],
    "/search_papers": [
        ({"query": ""}, "Say what to look for"),
        ({"query": "x", "k": 21}, "from 1 to 20"),
        ({"query": {"a": 1}}, "Say what to look for"),
    ],
    "/evaluate": [
        ({"number": 26}, "from 1 to 25"),
        ({"number": 3, "formulation": "<b>"}, "either letter or cloze"),
        ({"number": "many"}, "from 1 to 25"),
    ],
}


@pytest.mark.parametrize("endpoint", REFUSED)
def test_a_mistake_is_one_line(client: Client, endpoint: str) -> None:
    for given, words in REFUSED[endpoint]:
        with pytest.raises(AppError) as caught:
            client.predict(**given, api_name=endpoint)
        assert words in str(caught.value), given
        assert "\n" not in str(caught.value)
        assert "Traceback" not in str(caught.value)
        assert len(str(caught.value)) > 10


def test_nonsense_settings_become_usable_ones(client: Client) -> None:
    wild = {"temperature": "hot", "seed": -5, "length": 10**9}
    assert client.predict(QUESTION, **wild, api_name="/ask")
    assert client.predict(QUESTION, temperature=-1, length=16, api_name="/compare")["tuned"]["tokens"] <= 16


def test_the_commands_that_the_page_shows_work(client: Client) -> None:
    snippets = [
        html.unescape(found) for found in re.findall(r"<pre[^>]*>(.*?)</pre>", programs(client.src[:-1], "F"), re.S)
    ]
    python, curl, configuration = snippets
    done = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, check=True)
    assert done.stdout.count("event: generating") > 3
    assert "event: complete" in done.stdout
    shown: list[Any] = []
    exec(compile(python, "about", "exec"), {"print": shown.append})  # noqa: S102 - our own words
    assert len(shown) > 3
    assert shown[-1][0]["title"] == passages()[0].title
    assert json.loads(configuration)["mcpServers"]["f"]["url"].startswith("http")


def test_the_state_tells_what_is_served_and_that_all_is_free(client: Client) -> None:
    state = state_of(client.src[:-1])
    assert (state["running"], state["waiting"], state["evaluations"]) == (0, 0, 0)
    assert state["parts"][0]["repository"] == "demo/footnote-tiny-GGUF"
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in state["commits"].values())
    assert state["papers"]["passages"] == 4
    assert state["expected_seconds"] > 0


def test_an_answer_that_nobody_takes_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine(hangs=True)
    state = served(tuned=engine)
    heard = iter([True, True, False])
    monkeypatch.setattr(api, "is_listening", lambda page, session: next(heard))
    assert len(list(Endpoints(PAGE, state).ask("Why?", REQUEST))) == 2
    state.models.scheduler.close()
    assert engine.free == engine.parallel


def test_programs_are_held_to_the_rate_of_the_page() -> None:
    state = served()
    limited = type(state)(state.models, state.library, state.feedback, Visitors(per_address=2))
    endpoints = Endpoints(PAGE, limited)
    assert list(endpoints.ask("Why?", REQUEST))
    with pytest.raises(gr.Error, match="still waiting"):
        endpoints.search_papers("LoRA", REQUEST)
    for again in (lambda: list(endpoints.ask("Why?", REQUEST)), lambda: endpoints.search_papers("LoRA", REQUEST)):
        with pytest.raises(gr.Error, match="2 questions came from your address"):
            again()
    state.models.scheduler.close()
