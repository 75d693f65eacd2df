"""docs/space.md is held to the code: its table of variables, its commands, and what it says of bounds."""

from __future__ import annotations

from pathlib import Path

from jobs import build_wheel, wheel_check
from jobs.space_files import ROOMS, SYSTEM_PACKAGES
from qa.ask_settings import MOST_TOKENS, QUESTION_CHARACTERS
from qa.scheduler import Limits
from space.api import TOOLS
from space.loading import N_CTX
from space.settings import VARIABLES

TEXT = (Path(__file__).parents[1] / "docs" / "space.md").read_text(encoding="utf-8")


def test_every_variable_stands_there_with_its_default_and_meaning() -> None:
    for variable in VARIABLES:
        assert f"| `{variable.name}` | {variable.default or '–'} | {variable.meaning} |" in TEXT
    assert TEXT.count("| `FOOTNOTE_") == len(VARIABLES)


def test_the_bounds_it_names_are_the_codes() -> None:
    limits = Limits()
    assert f"window of {N_CTX:,} tokens" in TEXT
    assert f"the queue holds {limits.waiting}" in TEXT
    assert f"A job ends after {limits.deadline:.0f} s of computing" in TEXT
    assert limits.per_address == 8
    assert "an address eight" in TEXT
    assert f"{QUESTION_CHARACTERS} characters" in TEXT
    assert f"{MOST_TOKENS} tokens" in TEXT


def test_the_tools_it_names_are_those_that_are_offered() -> None:
    assert ", ".join(f"`{tool[1:]}`" for tool in TOOLS[:2]) + f" and `{TOOLS[2][1:]}` over MCP" in TEXT


def test_what_it_says_of_the_wheel_and_of_the_spaces_files_is_the_codes() -> None:
    assert {"-DGGML_AVX2=ON", "-DGGML_AVX512=OFF"} < set(build_wheel.CMAKE)
    assert wheel_check.GLIBC == "2.36"
    assert "libraries and GLIBC of Debian 12" in TEXT
    assert all(f"`{room}/`" in TEXT for room in ROOMS)
    assert SYSTEM_PACKAGES
    assert "`packages.txt`" in TEXT
