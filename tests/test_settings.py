"""What a duplicated Space changes: every variable is read, bounded, and named in the one line that refuses it."""

from __future__ import annotations

import socket

import pytest

from qa.artifacts import Reference
from space.settings import DEFAULT_MODEL, VARIABLES, Settings, SettingsError, check_address

TOKEN = "hf_" + "qWertyuiop" * 4


def test_every_variable_has_the_default_that_is_documented() -> None:
    settings = Settings.read({})
    shown = {variable.name: now for variable, now in settings.table()}
    assert shown == {variable.name: variable.default for variable in VARIABLES}
    assert settings.model == Reference(DEFAULT_MODEL, "main", None)
    assert settings.index.repository == "footnote-ai/footnote-qwen2.5-3b-index"
    assert (settings.parallel, settings.repack, settings.threads, settings.rate) == (4, "auto", None, 60)
    assert (settings.host, settings.port, settings.feedback) == ("127.0.0.1", 7860, "")


def test_every_variable_can_be_set() -> None:
    wanted = {
        "FOOTNOTE_MODEL": "a/b:c-q8_0.gguf",
        "FOOTNOTE_MODEL_REVISION": "v2",
        "FOOTNOTE_BASE": "a/base",
        "FOOTNOTE_BASE_REVISION": "refs/pr/1",
        "FOOTNOTE_DATA": "a/data",
        "FOOTNOTE_DATA_REVISION": "c0ffee",
        "FOOTNOTE_INDEX": "a/index",
        "FOOTNOTE_INDEX_REVISION": "v1.0",
        "FOOTNOTE_FEEDBACK": "a/votes",
        "FOOTNOTE_TITLE": "Margin note",
        "FOOTNOTE_SUBJECT": "soil science",
        "FOOTNOTE_PARALLEL": "2",
        "FOOTNOTE_REPACK": "off",
        "FOOTNOTE_THREADS": "8",
        "FOOTNOTE_RATE": "5",
        "FOOTNOTE_HOST": "::1",
        "FOOTNOTE_PORT": "8080",
    }
    settings = Settings.read(wanted)
    assert {variable.name: now for variable, now in settings.table()} == wanted
    assert settings.model == Reference("a/b", "v2", "c-q8_0.gguf")
    assert (settings.title, settings.threads, settings.rate) == ("Margin note", 8, 5)


def test_what_is_empty_counts_as_absent() -> None:
    assert Settings.read({variable.name: " " for variable in VARIABLES}) == Settings.read({})
    assert Settings.read({"FOOTNOTE_BASE": "a/b@v3"}).base.revision == "v3"
    assert Settings.read({"SPACE_ID": "somebody/space"}).host == "0.0.0.0"  # noqa: S104
    assert Settings.read({"SPACE_ID": "somebody/space", "FOOTNOTE_HOST": "::1"}).host == "::1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FOOTNOTE_MODEL", "no-owner"),
        ("FOOTNOTE_DATA", "../../etc/passwd"),
        ("FOOTNOTE_INDEX", "https://somewhere/a/b"),
        ("FOOTNOTE_MODEL_REVISION", "two words"),
        ("FOOTNOTE_FEEDBACK", "votes"),
        ("FOOTNOTE_TITLE", "two\nlines"),
        ("FOOTNOTE_SUBJECT", "s" * 61),
        ("FOOTNOTE_PARALLEL", "0"),
        ("FOOTNOTE_PARALLEL", "5"),
        ("FOOTNOTE_REPACK", "yes"),
        ("FOOTNOTE_THREADS", "many"),
        ("FOOTNOTE_RATE", "-1"),
        ("FOOTNOTE_RATE", "²"),
        ("FOOTNOTE_PORT", "70000"),
        ("FOOTNOTE_PORT", "9" * 5000),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.read({name: value})
    assert "\n" not in str(caught.value)
    assert "set it to" in str(caught.value)


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES if variable.name != "FOOTNOTE_HOST"])
def test_a_token_in_the_wrong_variable_is_not_repeated(name: str) -> None:
    with pytest.raises(SettingsError, match=name) as caught:
        Settings.read({name: f"{TOKEN} {TOKEN}"})
    assert TOKEN not in str(caught.value)


def test_an_address_that_cannot_be_had_is_told_before_anything_is_built() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"FOOTNOTE_PORT={port} cannot be had on 127.0.0.1"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)
    for host in ("192.0.2.1", "a" * 70, "nobody.invalid"):
        with pytest.raises(SettingsError, match=f"FOOTNOTE_HOST='{host}' is no address of this machine"):
            check_address(host, port)
