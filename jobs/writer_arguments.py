"""The command line's arguments that decide who writes questions, who reads them, and what is kept."""

from __future__ import annotations

import argparse
from typing import get_args

from pydantic import ValidationError

from jobs.data_config import KINDS, Budget, Reader, Writer
from jobs.errors import UserError

TEACHERS = ("model", "endpoint", "pairs_per_passage")  # what only a teacher needs
SPENT = tuple(f"budget_{name}" if name in ("tokens", "dollars") else name for name in Budget.model_fields)
READERS = ("reader_model", "reader_endpoint")


def add_writer_arguments(parser: argparse.ArgumentParser) -> None:
    """Add an argument for every setting of a writer, in groups."""
    known = Writer()
    asked = parser.add_argument_group("writer")
    asked.add_argument("--writer", choices=_choices(Writer, "kind"), default=known.kind)
    asked.add_argument("--model", default="", help="the teacher: a name at the endpoint, a Hub id or folder, or a GGUF")
    asked.add_argument("--endpoint", default="", help="address of an OpenAI-compatible server, such as http://.../v1")
    asked.add_argument("--kinds", nargs="+", choices=KINDS, default=known.kinds, help="of questions (default: all)")
    asked.add_argument("--pairs-per-passage", type=int, help=f"asked of a teacher (default: {known.pairs_per_passage})")
    asked.add_argument("--max-passages", type=int, help="ask about so many passages, drawn by lot (default: all)")
    asked.add_argument(
        "--concurrency", type=int, default=known.concurrency, help="requests at once (default: %(default)s)"
    )
    asked.add_argument("--cache", default="", metavar="DIR", help="replies that were paid for (default: user's cache)")
    spent = parser.add_argument_group("budget")
    spent.add_argument("--budget-tokens", type=int, help="read and written, after which no more is asked")
    spent.add_argument("--budget-dollars", type=float, help="after which no more is asked; needs the prices")
    spent.add_argument("--input-price", type=float, help="dollars for a million tokens read")
    spent.add_argument("--output-price", type=float, help="dollars for a million tokens written")
    kept = parser.add_argument_group("filters")
    kept.add_argument(
        "--found-within",
        type=int,
        default=known.found_within,
        help="a question must find its passage among so many; 0: not asked (default: %(default)s)",
    )
    kept.add_argument(
        "--near-duplicate", type=float, default=known.near_duplicate, help="least similarity (default: %(default)s)"
    )
    kept.add_argument("--reader", choices=_choices(Reader, "kind"), default="none", help="model that answers them")
    kept.add_argument("--reader-model", default="", help="as --model")
    kept.add_argument("--reader-endpoint", default="", help="as --endpoint")
    kept.add_argument(
        "--agreement", type=float, default=known.reader.agreement, help="least token F1 (default: %(default)s)"
    )


def writer_of(given: argparse.Namespace) -> Writer:
    """The writer that the arguments describe. Raises `UserError` naming the argument that is of no use or no value."""
    _refuse_unused(given)
    values = {name: value for name in Writer.model_fields if (value := getattr(given, name, None)) is not None}
    values |= {
        "kind": given.writer,
        "budget": {
            name: value
            for name in Budget.model_fields
            if (value := getattr(given, _argument("budget", name))) is not None
        },
        "reader": {
            "kind": given.reader,
            "model": given.reader_model,
            "endpoint": given.reader_endpoint,
            "agreement": given.agreement,
        },
    }
    try:
        return Writer(**{name: value for name, value in values.items() if name != "writer"})
    except ValidationError as error:
        fault = error.errors()[0]
        option = _argument(*map(str, fault["loc"])).replace("_", "-")
        raise UserError(f"--{option}: {fault['msg'].removeprefix('Value error, ')}, not {fault['input']!r}") from None


def _refuse_unused(given: argparse.Namespace) -> None:
    """Raise `UserError` for an option that nobody would heed, and for dollars without prices."""
    heedless = {}
    if given.writer == "offline":
        heedless |= dict.fromkeys(TEACHERS, "the offline writer asks no model; name a teacher with --writer")
        if given.reader == "none":
            heedless |= dict.fromkeys(SPENT, "the offline writer costs nothing; name a teacher with --writer")
    if given.reader in ("none", "writer"):
        heedless |= dict.fromkeys(READERS, "no model of its own reads; name one with --reader")
    for name, why in heedless.items():
        if getattr(given, name) not in (None, ""):
            raise UserError(f"--{name.replace('_', '-')}: {why}")
    if given.budget_dollars and not (given.input_price or given.output_price):
        raise UserError("--budget-dollars needs --input-price and --output-price, in dollars for a million tokens")


def _argument(*names: str) -> str:
    """The argument of a setting, by the setting's place: budget.tokens is `budget_tokens`, its prices are bare."""
    return names[-1] if names[-1].endswith(("_price", "agreement")) else "_".join(names)


def _choices(section: type[Writer] | type[Reader], name: str) -> tuple[str, ...]:
    return get_args(section.model_fields[name].annotation)
