"""What callers may send, and what of it a log keeps: cases that broke Gradio for everybody else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from space.limits import MOST_SESSION, _refused_body
from space.secrecy import guard
from space.serving import LAUNCH
from space.settings import Settings, SettingsError

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_hash": "\\ud800"}',
        b'{"session_hash": "a b"}',
        b'{"session_hash": 7}',
        b'{"session_hash": ""}',
        json.dumps({"session_hash": "x" * (MOST_SESSION + 1)}).encode(),
        b'{"fn_index": NaN}',
        b'{"fn_index": 1e400}',
        b'{"fn_index": -1}',
        b'{"fn_index": true}',
        b'{"fn_index": 99999999999999999999}',
        b'{"data": [Infinity]}',
        b"{",
        b"\xff\xfe",
    ],
)
def test_what_no_page_of_ours_sends_is_refused(body: bytes) -> None:
    refused = _refused_body(body)
    assert refused is not None
    assert refused.status_code == 400
    assert len(bytes(refused.body)) < 100


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"data": [1.5, "x"], "fn_index": 3, "session_hash": "a1-b_c.9"}', b'{"fn_index": null}']
)
def test_what_browsers_and_clients_send_goes_through(body: bytes) -> None:
    assert _refused_body(body) is None


def test_the_log_keeps_no_words_of_visitors() -> None:
    log = io.StringIO()
    stream = guard(log)
    stream.write('ValueError: not enough (needed: 5, got: 1).\nReceived inputs:\n    ["MY QUESTION"]\n')
    stream.write("gradio.exceptions.Error: 'Value: MY QUESTION is not in the list of choices: []'\n")
    stream.write("x" * 5000 + "\n")
    written = log.getvalue()
    assert "MY QUESTION" not in written
    assert "needed: 5, got: 1" in written
    assert max(map(len, written.splitlines())) < 1100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOOTNOTE_PORT", "000000001234567"),
        ("FOOTNOTE_PARALLEL", "000000001999"),
        ("FOOTNOTE_THREADS", "ALL"),
        ("FOOTNOTE_THREADS", "0"),
        ("FOOTNOTE_RATE", "1e3"),
        ("FOOTNOTE_MODEL_REVISION", "../.."),
        ("FOOTNOTE_MODEL_REVISION", "/main"),
        ("FOOTNOTE_DATA_REVISION", "a//b"),
    ],
)
def test_a_setting_out_of_its_range_is_one_line(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as wrong:
        Settings.read({name: value})
    assert "\n" not in str(wrong.value)
    assert "all" in str(wrong.value) or name != "FOOTNOTE_THREADS"


def test_settings_that_are_right_are_taken() -> None:
    settings = Settings.read({"FOOTNOTE_THREADS": "16", "FOOTNOTE_MODEL_REVISION": "refs/pr/1", "FOOTNOTE_PORT": "80"})
    assert (settings.threads, settings.model.revision, settings.port) == (16, "refs/pr/1", 80)


def test_the_environment_opens_no_tunnel_and_keeps_no_table() -> None:
    assert LAUNCH["share"] is False
    code = "import app, os; os.environ.update(app.GRADIO); import gradio; q = gradio.Blocks().queue()._queue; "
    code += "print(q.ANALYTICS_MAX_EVENTS, os.environ['GRADIO_DEBUG'])"
    environment = {**os.environ, "GRADIO_DEBUG": "1", "GRADIO_ANALYTICS_MAX_EVENTS": "10000"}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["1", "0"]
