"""The command line of an evaluation, and the names that models go by."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from jobs.arguments import path_argument
from jobs.config import Evaluation
from jobs.errors import UserError
from qa.choices import Template

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
RESERVED = ("metrics", "step", "claim", "dataset", "passages", "judge", "items", "rotated", "report")
FORMULATIONS = ("letter", "cloze", "chat")


def check_names(names: Iterable[str]) -> None:
    """Raise `UserError` for a name that cannot name a file of the report."""
    for name in names:
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise UserError(f"{name}=…: a model's name is letters, digits, - and _, and not one of {RESERVED}")


def named_models(places: Sequence[str]) -> dict[str, str]:
    """`[NAME=]PLACE` → place by name; a bare place is named by its last part. Raises `UserError`."""
    models: dict[str, str] = {}
    for text in places:
        name, equals, place = text.partition("=") if not Path(text).exists() else ("", "", "")
        if not equals:
            name, place = _own_name(text), text
        if not (name and place):
            raise UserError(f"{text!r}: expected NAME=PLACE, or a repository, folder or .gguf file")
        if name in models:
            raise UserError(f"{name} is named twice; tell them apart by NAME=PLACE")
        models[name] = place
    return models


def _own_name(place: str) -> str:
    last = place.rstrip("/").split("/")[-1].partition("@")[0].removesuffix(".gguf")
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-")


def parse_options(description: str, arguments: Sequence[str] | None) -> dict[str, Any]:
    """The arguments of `evaluate_models` from a command line."""
    parser = _parser(description)
    options = parser.parse_intermixed_args(arguments)
    if options.seed < 0:
        parser.error("--seed: a whole number from 0 on")
    keys = ("tasks", "formulations", "template", "shots", "limit", "rotations", "sources", "dtype", "batch_tokens")
    given = {key: value for key in keys if (value := getattr(options, key)) is not None}
    judge = {"endpoint": options.judge_endpoint, "model": options.judge_model}
    if any(judge.values()):
        given["judge"] = {key: value for key, value in judge.items() if value}
    try:
        evaluation, models = Evaluation(**given), named_models(options.models)
    except ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0])
        option = {"formulations": "formulation", "judge": "judge-endpoint"}.get(key, key.replace("_", "-"))
        parser.error(f"--{option}: {fault['msg'].removeprefix('Value error, ')}")
    except UserError as error:
        parser.error(str(error))
    kept = ("dataset", "out", "base", "seed", "passages")
    return {"models": models, "evaluation": evaluation} | {key: getattr(options, key) for key in kept}


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _place(text: str) -> Path | str:
    """A folder where there is one, else a repository's name."""
    return Path(text) if Path(text).exists() else text


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.evaluate", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="[NAME=]PLACE; the first is what the others are compared with")
    add("--out", type=path_argument, required=True, help="folder of the report")
    add("--dataset", type=_place, help="folder that build_dataset made, or a data set's repository")
    add("--tasks", type=_list, help="for example research,arc_challenge,mmlu:machine_learning,my/test.jsonl")
    add("--formulation", type=_list, dest="formulations", help=f"of {', '.join(FORMULATIONS)}; the first leads")
    add("--template", choices=get_args(Template), help="default: letter by chat, cloze plain as in lm-eval")
    add("--shots", type=int, help="solved examples from the training split, 0 to 25")
    add("--limit", type=int, help="questions of each task")
    add("--base", help="what adapters are put on (default: what their configuration names)")
    add("--rotations", type=int, help="questions of each task of which every rotation of the options is asked")
    add("--sources", type=int, help="passages shown with open questions, for citations and abstention")
    add("--passages", type=path_argument, help="folder that collect made, for --sources")
    add("--judge-endpoint", help="OpenAI-compatible server of a model that compares open answers (key: OPENAI_API_KEY)")
    add("--judge-model", help="the judge's name there")
    add("--dtype", choices=("float32", "bfloat16"), help="of the weights in transformers (default: float32)")
    add("--batch-tokens", type=int, help="tokens computed at once")
    add("--seed", type=int, default=17)
    return parser
