"""docs/rented-gpus.md: each command is read by the parsers it is meant for, and what is calculated is calculated."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from jobs.config import Export, Lora, Train
from jobs.estimate import GPUS, UTILISATION, adapter_parameters, disk_bytes, training_flops
from jobs.training import memory
from scripts.job_headers import JOBS
from tests.test_preflight import QWEN_3B

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "rented-gpus.md").read_text(encoding="utf-8")
WEIGHTS = 3_085_938_688  # of Qwen2.5-3B
PER_TOKEN = [training_flops(QWEN_3B, [512], Train(epochs=1), recompute) / 512 for recompute in (False, True)]
A_TOKEN, ADAPTER = memory.activation_bytes(QWEN_3B, Train()), adapter_parameters(QWEN_3B, Lora())
STARTS = ("hf ", "python ", ".venv/bin/python ", "accelerate ")


def commands() -> list[str]:
    """Every command of the page: lines of its blocks, and what stands in its table of steps."""
    lines = [
        line for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
    ]
    lines += re.findall(r"\| `(hf jobs uv run .+?)` \|", PAGE)
    lines = [line.removeprefix("until ") for line in lines]
    return [line.partition(" & ")[0] for line in lines if line.startswith(STARTS)]


class ParsedError(Exception):
    """Raised in the place of the work that would follow."""


@pytest.fixture
def step_parses(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, list[str]], None]:
    """Has the command line of a step parsed by the step itself."""

    def stop_after(parse: Callable[..., argparse.Namespace]) -> Callable[..., None]:
        def parse_and_stop(*given: object) -> None:
            parse(*given)
            raise ParsedError

        return parse_and_stop

    def parses(step: str, words: list[str]) -> None:
        with monkeypatch.context() as patch:
            for name in ("parse_args", "parse_intermixed_args"):
                patch.setattr(argparse.ArgumentParser, name, stop_after(getattr(argparse.ArgumentParser, name)))
            patch.setattr(sys, "argv", [f"jobs/{step}.py", *words])
            with pytest.raises(ParsedError):
                import_module(f"jobs.{step}").main()

    return parses


@pytest.mark.parametrize("command", commands())
def test_a_command_is_one_that_its_parsers_read(command: str, step_parses: Callable[[str, list[str]], None]) -> None:
    program, *words = shlex.split(command)
    if program == "hf":
        words = hf_parses(words)
    elif program == "accelerate":
        from accelerate.commands.launch import launch_command_parser

        options = launch_command_parser().parse_args(words[1:])
        assert (ROOT / options.config_file).is_file()
        words = [options.training_script, *options.training_script_args]
    elif words[0] == "-m":
        words = words[1:]
    if words and (step := re.fullmatch(r"jobs[./](\w+?)(\.py)?", words[0])):
        step_parses(step[1], words[1:])
        assert all((ROOT / word).exists() for word in words if word.startswith("jobs/"))
    else:
        assert program == "hf"


def hf_parses(given: list[str]) -> list[str]:
    """Parse with the client's own commands; what is left is a script with its arguments, if any."""
    from huggingface_hub.cli.hf import app

    command, context, words = app, app.make_context("hf", list(given)), given
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)
    if "script" not in context.params:
        return []
    rest = context.params["script_args"]
    assert given[-len(rest) - 1 :] == ["--", *rest], "without -- some of these are taken for the client's own"
    return [context.params["script"], *rest]


def test_the_steps_stand_with_their_flavors_and_times() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w-]+) \| (\w+) \|", PAGE, re.MULTILINE)
    assert {step: (flavor, time) for step, flavor, time in rows} == {
        step: (job.flavor, job.timeout) for step, job in JOBS.items()
    }


def test_hours_and_dollars_are_the_formula() -> None:
    assert [f"{flops / 1e9:.2f}" for flops in PER_TOKEN] == ["12.75", "19.00"]
    assert "takes 12.75 GFLOP a token at a length of 512" in PAGE
    assert "19.0 where activations are computed again" in PAGE
    assert f"Assumed is {UTILISATION:.0%} of the dense bf16 rate" in " ".join(PAGE.split())
    rows = re.findall(r"^\| ([\w-]+) \((\d+) GB\) \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _, _ in rows] == [name for name in GPUS if not name.startswith("t4")]
    for name, memory_gb, cells in rows:
        gpu, rate, price = GPUS[name]
        assert int(memory_gb) == gpu
        hours = [10e6 * flops / (rate * 1e12 * UTILISATION) / 3600 for flops in PER_TOKEN]
        expected = [rate, price, *(value for each in hours for value in (each, each * price))]
        room = memory.fits(4 * 512 * A_TOKEN, 2 * WEIGHTS, ADAPTER, gpu * 10**9)
        expected[2:4] = expected[2:4] if room else ["–", "–"]
        found = [cell if cell == "–" else float(cell) for cell in cells.split(" | ")]
        assert found == [value if value == "–" else pytest.approx(value, abs=0.006) for value in expected]


def test_the_other_calculated_figures() -> None:
    figures = {
        f"some {disk_bytes(WEIGHTS, Export()) / 1e9:.0f} GB (calculated": 1,
        f"{round(10e6 / 3 / 128, -3):,.0f} rows of 128": 1,
        f"{3548 * 1.19 / 60:.0f} minutes": 1,  # questions of ARC's test sets, at seconds of docs/space.md
        f"{12 * 200 * 1.19 / 60:.0f} minutes": 1,
        f"adapter of rank 16 with its optimiser {memory.ADAPTER_BYTES * ADAPTER / 1e9:.2f} GB": 1,
        f"{memory.WORK_BYTES / 1e9:.0f} GB of work space": 1,
        f"{A_TOKEN / 1e6:.1f} MB a token ({4 * 512 * A_TOKEN / 1e9:.1f} GB for 4 rows of 512;": 1,
        # The width's inputs of every layer in bf16, and all of one layer.
        f"a layer at a time: {4 * 512 * (36 * 2 * 2048 + A_TOKEN / 36) / 1e9:.1f} GB": 1,
    }
    assert {words: PAGE.count(words) for words in figures} == figures
