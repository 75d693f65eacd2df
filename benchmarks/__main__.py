"""Run every benchmark: `python -m benchmarks [NAME…]`."""

from __future__ import annotations

import argparse

from benchmarks import evaluate_against_lm_eval as evaluate
from benchmarks import merge_against_peft
from jobs.errors import run_main

NAMES = ("merge", "evaluate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    group = parser.add_argument_group("evaluate")
    group.add_argument("--rows", type=_positive, help=f"questions of each setting (default: {_usual_rows()})")
    group.add_argument("--rounds", type=_positive, default=evaluate.ROUNDS, help="default: %(default)s")
    group.add_argument("--arc", default=str(evaluate.ARC), help="a folder laid out like allenai/ai2_arc, or that name")
    group.add_argument("--tokenizer", default=evaluate.TOKENIZER, help="on the Hub, or a folder (default: %(default)s)")
    options = vars(parser.parse_args())
    names = options.pop("names") or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if "merge" in names:
        merge_against_peft.main()
    if "evaluate" in names:
        evaluate.main(**options)


def _usual_rows() -> str:
    return ", ".join(f"{rows} with {shots} solved examples" for shots, rows in evaluate.ROWS.items())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


if __name__ == "__main__":
    run_main(main)
