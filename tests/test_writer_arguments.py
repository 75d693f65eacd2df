"""The options of a writer: what is heeded, and what nobody would heed."""

from __future__ import annotations

import argparse

import pytest

from jobs.data_config import Budget, Reader, Writer
from jobs.endpoint_secrets import check_address
from jobs.errors import UserError
from jobs.writer_arguments import add_writer_arguments, writer_of


def written(*words: str) -> Writer:
    parser = argparse.ArgumentParser()
    add_writer_arguments(parser)
    return writer_of(parser.parse_args(words))


def test_options_that_are_heeded_make_the_writer() -> None:
    assert written() == Writer()
    prices = ("--budget-dollars", "2", "--input-price", "0.5", "--output-price", "1.5")
    teacher = written("--writer", "openai", "--model", "m", "--pairs-per-passage", "5", *prices)
    budget = Budget(dollars=2, input_price=0.5, output_price=1.5)
    assert teacher == Writer(kind="openai", model="m", pairs_per_passage=5, budget=budget)
    reading = written("--reader", "openai", "--reader-model", "r", "--budget-tokens", "9")  # the reader spends it
    assert reading == Writer(reader=Reader(kind="openai", model="r"), budget=Budget(tokens=9))


OFFLINE = "the offline writer asks no model; name a teacher with --writer"
FREE = "the offline writer costs nothing; name a teacher with --writer"
UNREAD = "no model of its own reads; name one with --reader"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "m"), f"--model: {OFFLINE}"),
        (("--endpoint", "http://127.0.0.1:1/v1"), f"--endpoint: {OFFLINE}"),
        (("--pairs-per-passage", "3"), f"--pairs-per-passage: {OFFLINE}"),
        (("--budget-tokens", "9"), f"--budget-tokens: {FREE}"),
        (("--budget-dollars", "1"), f"--budget-dollars: {FREE}"),
        (("--input-price", "1"), f"--input-price: {FREE}"),
        (("--reader-model", "r"), f"--reader-model: {UNREAD}"),
        (("--writer", "openai", "--reader", "writer", "--reader-endpoint", "http://x"), f"--reader-endpoint: {UNREAD}"),
        (
            ("--writer", "openai", "--budget-dollars", "1"),
            "--budget-dollars needs --input-price and --output-price, in dollars for a million tokens",
        ),
        (("--writer", "openai", "--pairs-per-passage", "0"), "--pairs-per-passage: Input should be greater than or"),
        (
            ("--writer", "openai", "--endpoint", "ftp://x"),
            "writer.endpoint: ftp://x is no http(s) address, such as http://127.0.0.1:8000/v1",
        ),
    ],
)
def test_an_option_that_nobody_would_heed_is_named(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as caught:
        written(*words)
    assert str(caught.value).startswith(said)


def test_an_address_is_of_http_and_holds_no_secret() -> None:
    for good in ("", "http://127.0.0.1:8000/v1", "HTTPS://models.example/v1"):
        check_address(good, "writer")
    with pytest.raises(UserError, match=r"^writer.reader.endpoint: localhost:8000 is no http") as caught:
        check_address("localhost:8000", "writer.reader")
    assert str(caught.value).count("\n") == 0
    with pytest.raises(UserError, match="holds a user, a password or a query") as caught:
        check_address("ftp://me:hidden@x", "writer")
    assert "hidden" not in str(caught.value)
