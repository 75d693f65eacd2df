"""Addresses of views: they come back as they were, and whatever somebody wrote into one is bounded."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from qa.ask_settings import AskSettings
from space.share import View, address, parse


def reopened(link: str) -> View:
    assert link.startswith("?")
    return parse(dict(parse_qsl(link[1:], strict_parsing=True)))


@pytest.mark.parametrize(
    "question", ["Why & how?", "a=b&tab=about#x", "Über 100 % \"<b>\" 'q' +1", "x" * 600, "两\n行"]
)
def test_a_view_comes_back_from_its_address(question: str) -> None:
    settings = AskSettings(temperature=0.7, seed=2**31 - 1, max_tokens=300)
    assert reopened(address("ask", question, settings)) == View("ask", question, settings)


def test_the_address_names_tab_question_and_settings() -> None:
    link = address("ask", " What is LoRA? ", AskSettings(seed=4))
    assert link == "?tab=ask&q=What+is+LoRA%3F&seed=4&temperature=0.3&length=200"
    assert address("evaluate") == "?tab=evaluate"


def test_a_blind_comparison_comes_back_blind() -> None:
    settings = AskSettings(seed=4)
    assert address("compare", "x", settings, blind=True) == address("compare", "x", settings) + "&blind=1"
    assert reopened(address("compare", "x", settings, blind=True)) == View("compare", "x", settings, blind=True)
    assert not parse({"q": "x", "blind": "yes"}).blind


def test_a_question_is_read_up_to_what_can_be_asked() -> None:
    assert len(parse({"q": "x" * 5000}).question) == 600
    assert len(reopened(address("ask", "y" * 601)).question) == 600
    assert parse({"q": "  a\0b "}).question == "ab"


def test_comparisons_open_with_their_own_defaults() -> None:
    greedy = AskSettings.greedy()
    assert parse({"tab": "compare", "q": "x"}, greedy) == View("compare", "x", greedy)
    assert parse({"tab": "compare", "q": "x", "temperature": "1.2"}, greedy).settings.temperature == 1.2


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ({}, AskSettings()),
        ({"seed": "-5", "temperature": "99", "length": "1"}, AskSettings(temperature=1.5, seed=0, max_tokens=16)),
        ({"seed": "9" * 400, "temperature": "nan", "length": "inf"}, AskSettings()),
        ({"seed": "<script>", "temperature": "", "length": "0x10"}, AskSettings()),
        ({"seed": "3.9", "length": "99999"}, AskSettings(seed=3, max_tokens=300)),
    ],
)
def test_settings_are_brought_into_their_bounds(query: dict[str, str], settings: AskSettings) -> None:
    assert parse(query).settings == settings


@pytest.mark.parametrize("tab", ["", "ASK", "admin", "ask "])
def test_an_unknown_tab_is_the_first_one(tab: str) -> None:
    assert parse({"tab": tab}).tab == "ask"
