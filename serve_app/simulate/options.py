"""The arguments of `tokenfleet simulate`. Imports nothing that may be missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.routing.policies import POLICIES
from cluster.simulation.roofline import GPUS, MODELS
from loadtest.argument_types import count
from loadtest.traces import MOONCAKE_TICK_S
from serve_app.simulate import scaling
from serve_app.simulate.names import names

DEFAULT_BLOCK_TOKENS = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """For the command's parser."""
    parser.add_argument(
        "trace",
        metavar="TRACE",
        type=Path,
        help="Mooncake's .jsonl, Azure's .csv, or a made-up workload's .yaml",
    )
    parser.add_argument(
        "--policy",
        type=_policies,
        default=["predicted_cost"],
        metavar="NAME,...",
        help=f"of {', '.join(POLICIES)}; default predicted_cost",
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="for result.json and report.html; default: simulation-TRACE",
    )
    _add_load(parser.add_argument_group("load"))
    _add_fleet(parser.add_argument_group("fleet"))
    scaling.add_arguments(parser.add_argument_group("size"))


def _add_load(group: argparse._ArgumentGroup) -> None:
    rate = group.add_mutually_exclusive_group()
    rate.add_argument(
        "--speed",
        type=_positive,
        metavar="FACTOR",
        help="2 plays the trace in half its time; default 1",
    )
    rate.add_argument(
        "--load",
        type=_positive,
        metavar="FRAC",
        help="of the rate at which the fleet saturates, which is found first",
    )
    group.add_argument(
        "--saturation-policy",
        choices=list(POLICIES),
        default="least_load",
        metavar="NAME",
        help="the router it is found with; default least_load",
    )
    group.add_argument(
        "--saturation-rps",
        type=_positive,
        metavar="PER_S",
        help="what an earlier run found, to save the search",
    )
    group.add_argument(
        "--tick-s",
        type=_not_negative,
        default=MOONCAKE_TICK_S,
        metavar="SECONDS",
        help="what the timestamps of a Mooncake trace are rounded to, over which its arrivals are "
        "spread; default %(default)g, 0: they are exact",
    )
    group.add_argument(
        "--days",
        type=count,
        metavar="N",
        help="spread the arrivals over so many days and nights",
    )
    group.add_argument(
        "--night-frac",
        type=_positive,
        default=0.1,
        metavar="FRAC",
        help="the rate at night, of that at the peak; default 0.1",
    )
    group.add_argument(
        "--day-frac",
        type=_positive,
        default=1.0,
        metavar="FRAC",
        help="the day's share of the period; default 1, a sine",
    )
    group.add_argument("--requests", type=count, metavar="N", help="only the first N of the trace")
    group.add_argument(
        "--max-tokens",
        type=count,
        metavar="TOKENS",
        help="what every request asks for at most; default: the longest answer",
    )


def _add_fleet(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--engines", type=count, default=8, help="default 8")
    group.add_argument("--gateways", type=count, default=2, help="default 2")
    group.add_argument(
        "--gpu",
        type=_gpus,
        default=["H100"],
        metavar="NAME,...",
        help=f"of {', '.join(GPUS)}; several go to the engines in turn; default H100",
    )
    group.add_argument(
        "--model",
        choices=list(MODELS),
        default="Llama-3.1-8B",
        metavar="NAME",
        help=f"of {', '.join(MODELS)}; default Llama-3.1-8B",
    )
    group.add_argument("--gpus-per-engine", type=count, default=1, help="default 1")
    group.add_argument(
        "--step-time",
        type=Path,
        metavar="FILE",
        help="a measured engine instead of GPU and model: what a cluster answered to "
        "GET /fleet, or JSON with steps, or with a fit's coefficients",
    )
    group.add_argument(
        "--kv-tokens",
        type=count,
        metavar="TOKENS",
        help="an engine's KV cache; default: what fits beside the weights",
    )
    group.add_argument(
        "--block-tokens",
        type=count,
        default=DEFAULT_BLOCK_TOKENS,
        metavar="TOKENS",
        help="a KV block; default %(default)s, in half the time that vLLM's 16 would take",
    )
    group.add_argument("--max-num-batched-tokens", type=count, default=8192, help="default 8192")
    group.add_argument("--max-num-seqs", type=count, default=1024, help="default 1024")
    group.add_argument(
        "--report-every",
        type=_positive,
        default=0.25,
        metavar="SECONDS",
        help="an engine's load report; default 0.25",
    )
    group.add_argument(
        "--delay",
        type=_not_negative,
        default=0.002,
        metavar="SECONDS",
        help="from engines to gateways; default 0.002",
    )


def _policies(text: str) -> list[str]:
    return names(text, POLICIES)


def _gpus(text: str) -> list[str]:
    return names(text, GPUS)


def _positive(text: str) -> float:
    value = _not_negative(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be at least 0 and finite")
    return value
