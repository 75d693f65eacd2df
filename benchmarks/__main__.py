"""Run every benchmark: `python -m benchmarks [NAME…]`."""

from __future__ import annotations

import argparse

from benchmarks import merge_against_peft

ALL = {"merge": merge_against_peft.main}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)} (default: all)")
    names = parser.parse_args().names or list(ALL)
    if unknown := [name for name in names if name not in ALL]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ALL)}")
    for name in names:
        ALL[name]()


if __name__ == "__main__":
    main()
