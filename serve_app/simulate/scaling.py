"""`tokenfleet simulate --autoscale`: the same workload under several scalers, or a fixed size."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence

from cluster.scaling import Scaler
from cluster.scaling.limits import ScalingLimits, Slo
from cluster.scaling.policies import SCALERS
from cluster.simulation.fixed_at_peak import fixed_at_peak
from cluster.simulation.fleet import Elastic
from cluster.simulation.fleet_plan import Elasticity
from cluster.simulation.records import Run
from cluster.simulation.results import Result, result
from loadtest.number_text import NONE, number, percent
from serve_app.simulate.names import names

FIXED, PEAK = "fixed", "peak"
NAMES = ("slo", "ongoing_requests", "ttft_threshold", FIXED, PEAK)

HEADER = (
    *("size", "SLO met", "TTFT met", "TPOT met", "replica-seconds", "of peak's", "goodput/s"),
    *("good/replica-second", "engines mean", "most", "starts"),
)

Simulate = Callable[[str, int, Elastic | None], Run]
"""A run of that name, with so many engines at first, under a scaler or none."""


def results(args: argparse.Namespace, simulate: Simulate) -> Iterator[Result]:
    """One for each name of `args.autoscale`. Raises ValueError where not even `--max` engines keep
    the SLO and `peak` is asked for, and for bounds that are no range."""
    limits = ScalingLimits(least=args.min, most=args.max)
    for name in args.autoscale:
        yield result(_title(args, name), _run(args, name, limits, simulate), args.slo)


def line(each: Result, of: Sequence[Result]) -> list[str]:
    """Under `HEADER`; `of`: all results, for the share of the fixed size at peak."""
    found = each.scaling
    assert found
    peak_s = next((r.scaling.replica_s for r in of if r.scaling and PEAK in r.policy), None)
    return [
        each.policy,
        *map(_percent, (found.attainment_frac, found.ttft_good_frac, found.tpot_good_frac)),
        number(found.replica_s),
        NONE if peak_s is None else percent(found.replica_s / peak_s),
        number(found.goodput_rps, 3),
        number(found.good_per_replica_s, 4),
        number(found.mean_engines, 2),
        str(found.most_engines),
        str(found.starts),
    ]


def _percent(frac: float | None) -> str:
    return NONE if frac is None else percent(frac)


def _title(args: argparse.Namespace, name: str) -> str:
    return f"{name} {args.target_ongoing:g}" if name == "ongoing_requests" else name


def _run(args: argparse.Namespace, name: str, limits: ScalingLimits, simulate: Simulate) -> Run:
    if name == FIXED:
        return simulate(name, args.engines, None)
    if name == PEAK:
        engines, run = fixed_at_peak(
            lambda engines: simulate(f"{engines} engines", engines, None), args.slo, limits.most
        )
        print(f"fixed at peak: {engines} engines")
        return run
    elasticity = Elasticity(slo=args.slo, cold_start_s=args.cold_start_s, every_s=args.scale_every)
    return simulate(name, args.engines, (_scaler(args, name, limits), elasticity))


def _scaler(args: argparse.Namespace, name: str, limits: ScalingLimits) -> Scaler:
    return SCALERS[name](limits, args.slo, args.target_ongoing)


def read_slo(text: str) -> Slo:
    """`ttft=2,tpot=0.1,attainment=0.99`: seconds and a share, each of them optional."""
    names = {"ttft": "ttft_s", "tpot": "tpot_s", "attainment": "attainment_frac"}
    found: dict[str, float] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key not in names:
            raise argparse.ArgumentTypeError(f"no {key!r}; there are {', '.join(names)}")
        try:
            found[names[key]] = float(value)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{key}: {value!r} is no number") from None
    try:
        return Slo(**found)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--autoscale",
        type=_names,
        metavar="NAME,...",
        help=f"of {', '.join(NAMES)}: --engines are those at first, and the first --policy routes; "
        "peak is the smallest fixed size that keeps the SLO, which is found first",
    )
    group.add_argument("--min", type=int, default=1, help="engines at least; default 1")
    group.add_argument("--max", type=int, default=32, help="engines at most; default 32")
    group.add_argument(
        "--cold-start-s",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="from a decision until the engine is ready; default 60",
    )
    group.add_argument(
        "--slo",
        type=read_slo,
        default=Slo(),
        metavar="ttft=S,tpot=S",
        help="default ttft=2,tpot=0.1,attainment=0.99",
    )
    group.add_argument(
        "--scale-every",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="how often the scaler is asked; default 1",
    )
    group.add_argument(
        "--target-ongoing",
        type=float,
        default=2.0,
        metavar="REQUESTS",
        help="on each engine, for ongoing_requests; default 2, as Ray Serve's",
    )


def _names(text: str) -> list[str]:
    return names(text, NAMES)
