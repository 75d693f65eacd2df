"""Run every benchmark: `python -m benchmarks [NAME…]`."""

from __future__ import annotations

import argparse

from benchmarks import data_preparation as data
from benchmarks import evaluate_against_lm_eval as evaluate
from benchmarks import export_against_llama_cpp as export
from benchmarks import serve_against_llama_server as serve
from benchmarks import train_recipes as train
from benchmarks.random_model import LAYERS
from jobs.arguments import path_argument
from jobs.errors import run_main

NAMES = ("export", "evaluate", "data", "serve", "train")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    usual = f"export {export.ROUNDS}, evaluate {evaluate.ROUNDS}, data {data.ROUNDS}, serve {serve.ROUNDS}, "
    parser.add_argument("--rounds", type=_positive, help=f"default: {usual}train {train.ROUNDS}")
    parser.add_argument("--tokenizer", default=evaluate.TOKENIZER, help="on the Hub or a folder (default: %(default)s)")
    parser.add_argument("--keep", type=path_argument, metavar="DIR", help="of export and serve: where models stay")
    group = parser.add_argument_group("export")
    group.add_argument("--layers", type=_positive, default=LAYERS, help="of the 3B's shape (default: %(default)s, all)")
    group = parser.add_argument_group("evaluate")
    group.add_argument("--rows", type=_positive, help=f"questions of each setting (default: {_usual_rows()})")
    group.add_argument(
        "--arc", default=str(evaluate.ARC), help="a folder laid out like allenai/ai2_arc, or that name; of train too"
    )
    group = parser.add_argument_group("train")
    group.add_argument("--device", choices=tuple(train.STEPS), default="cpu", help="default: %(default)s")
    group.add_argument("--shape", choices=tuple(train.SHAPES), default="small", help="default: %(default)s")
    group.add_argument("--quantize", choices=("none", "4bit"), default="none", help="4bit: QLoRA, ours alone")
    group.add_argument("--steps", type=_positive, help="beside the first (default: 4, on a GPU 100)")
    group = parser.add_argument_group("data")
    group.add_argument("--documents", type=path_argument, metavar="DIR", help="to collect (default: sample articles)")
    options = parser.parse_args()
    names = options.names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    shared = {"tokenizer": options.tokenizer}
    if "export" in names:
        rounds = options.rounds or export.ROUNDS
        export.main(**shared, layers=options.layers, rounds=rounds, keep=options.keep)
    if "evaluate" in names:
        rounds = options.rounds or evaluate.ROUNDS
        evaluate.main(**shared, arc=options.arc, rows=options.rows, rounds=rounds)
    if "data" in names:
        data.main(documents=options.documents, rounds=options.rounds or data.ROUNDS)
    if "serve" in names:
        serve.main(**shared, rounds=options.rounds or serve.ROUNDS, keep=options.keep)
    if "train" in names:
        steps, rounds = options.steps or train.STEPS[options.device], options.rounds or train.ROUNDS
        train.main(
            train.Setting(options.device, options.shape, options.quantize, steps, rounds), **shared, arc=options.arc
        )


def _usual_rows() -> str:
    return ", ".join(f"{rows} with {shots} solved examples" for shots, rows in evaluate.ROWS.items())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


if __name__ == "__main__":
    run_main(main)
