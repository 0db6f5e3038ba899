"""The command line of `tokenfleet accelerate`; imports nothing that is an extra."""

from __future__ import annotations

import argparse
from pathlib import Path

from loadtest.acceleration import variants


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    compare = commands.add_parser("compare", help="speed and quality of a model's variants")
    compare.add_argument("--base", required=True, metavar="SPEC", help="its first model is varied")
    compare.add_argument(
        "--variants", required=True, metavar="NAME,...",
        help=f"of {', '.join(variants.KNOWN)}; several at once as in int8+ngram",
    )  # fmt: skip
    compare.add_argument(
        "--scenario", default="saturated", help="of the load test; default saturated"
    )
    compare.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="laid over the scenario"
    )
    compare.add_argument(
        "--items", type=Path, metavar="FILE",
        help="what is asked, with the right answers: a JSON object a line with task, answer, and "
        "prompt or messages; demo needs none",
    )  # fmt: skip
    compare.add_argument("--calibration", type=Path, metavar="FILE", help="for `compress`")
    compare.add_argument(
        "--max-quality-loss", type=_percent, default=0.01, metavar="1%",
        help="fewer exact matches than the base has, at most; default 1%%",
    )  # fmt: skip
    compare.add_argument("--seed", type=int, default=0, help="of items and compression; default 0")
    compare.add_argument("--out", type=Path, default=Path("acceleration"), metavar="DIR")


def _percent(text: str) -> float:
    """`1%` or `0.01`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: as 1% or 0.01")
    return value
