"""The Hub's token reaches neither page, nor log, nor error, whoever repeats it."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from space.models import Models
from space.secrecy import HIDDEN, guard, redact
from space.settings import Settings

ROOT = Path(__file__).parents[1]
TOKEN = "hf_" + "sEcret0123" * 3


def test_tokens_are_taken_out_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "an unusual secret")
    assert redact("before an unusual secret after") == f"before {HIDDEN} after"
    assert redact(f"Bearer {TOKEN}, and again {TOKEN}.") == f"Bearer {HIDDEN}, and again {HIDDEN}."
    plain = "hf_hub_download of hf_xet failed; shelf_life; HF_TOKEN"
    assert redact(plain) == plain
    assert redact("http://me:p@ss@hub.invalid:8/a@main and a@b") == "http://hub.invalid:8/a@main and a@b"
    monkeypatch.setenv("HF_TOKEN", "a")  # no token: it would blacken every word
    assert redact("an apple") == "an apple"


def test_a_guarded_stream_hides_it_in_records_and_tracebacks() -> None:
    seen = io.StringIO()
    stream = guard(seen)
    handler = logging.StreamHandler(stream)
    handler.emit(logging.LogRecord("x", logging.ERROR, "", 1, "sent %s", (TOKEN,), None))
    try:
        raise RuntimeError(f"authorization: Bearer {TOKEN}")
    except RuntimeError:
        traceback.print_exc(file=stream)
    stream.writelines([f"{TOKEN}\n", "done\n"])
    stream.flush()
    assert TOKEN not in seen.getvalue()
    assert seen.getvalue().count(HIDDEN) == 3
    assert seen.getvalue().endswith("done\n")
    assert stream.isatty() is False


class Echo(BaseHTTPRequestHandler):
    """A Hub that fails and repeats what it was sent, as a careless proxy does."""

    status = 500

    def do_HEAD(self) -> None:
        said = f"you sent {self.headers['authorization']}"
        self.send_response(self.status)
        self.send_header("x-error-message", said)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode() if self.command == "GET" else b"")

    def do_GET(self) -> None:
        self.do_HEAD()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(params=[401, 501])
def echoing_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    handler = type("Handler", (Echo,), {"status": request.param})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        yield address
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("user", ["", "somebody:pass-word@"])
def test_a_hub_that_repeats_it_does_not_bring_it_to_the_page(user: str, echoing_hub: str, tmp_path: Path) -> None:
    code = (
        "import logging, os, sys, time\n"
        "from space.secrecy import guard\n"
        "seen = sys.stdout\n"  # what is printed there is what the page shows; the rest is the log, on a guarded stream
        "sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "from space.about_views import about, facts\n"
        "from space.api_results import condition\n"
        "from space.library import SearchError\n"
        "from space.views import loading\n"
        "from tests.space_fakes import unloaded\n"
        "state = unloaded(**os.environ)\n"
        "models, library = state.models, state.library\n"
        "models.start(), library.start()\n"
        "while not (models.settled and library.settled): time.sleep(0.01)\n"
        "try: library.search('LoRA')\n"
        "except SearchError as error: print(error, file=seen)\n"
        "print(condition(state), loading(models.parts()), about(state), facts(state), file=seen)\n"
        "models.close()\n"
    )
    endpoint = echoing_hub.replace("http://", f"http://{user}")
    environment = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    environment["PATH"] = os.environ["PATH"]
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.count("'failed'") == 4, ended.stderr
    assert "The papers cannot be searched. footnote-ai/" in ended.stdout
    assert f"(you sent {'Basic' if user else 'Bearer'} {HIDDEN})" in ended.stdout
    for secret in (TOKEN, "pass-word", "somebody", b64encode(b"somebody:pass-word").decode()):
        assert secret not in ended.stdout + ended.stderr


def test_what_the_page_shows_of_a_failure_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from qa.artifacts import ArtifactError
    from space import loading

    def refuse(*_: object, **__: object) -> None:
        raise ArtifactError(f"a/b@main: answered 500 (you sent {TOKEN}); try again later")

    monkeypatch.setattr(loading, "pull_gguf", refuse)
    monkeypatch.setattr("space.models.pull_rows", refuse)
    models = Models(Settings.read({}))
    models.start()
    models._thread.join(5)
    assert [part.problem for part in models.parts()] == [
        f"a/b@main: answered 500 (you sent {HIDDEN}); try again later"
    ] * 3
    with pytest.raises(Exception, match="cannot be used") as caught:
        models.engine("tuned")
    assert TOKEN not in str(caught.value)
    models.close()
