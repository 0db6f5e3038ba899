"""`tokenfleet simulate`: reads a trace, simulates each policy on it, writes table, JSON and page.

Exit status: 0 done, 2 wrong input.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from cluster.routing import policies
from cluster.scaling.limits import Slo
from cluster.simulation.day_and_night import with_days
from cluster.simulation.fleet import Elastic, Progress, simulate
from cluster.simulation.fleet_plan import EngineKind, FleetPlan
from cluster.simulation.records import Run
from cluster.simulation.results import Result, document, result
from cluster.simulation.roofline import GPUS, MODELS, Roofline, kv_tokens
from cluster.simulation.saturation import saturation_rps
from cluster.simulation.scheduler import EngineLimits
from cluster.simulation.step_time import StepTime
from cluster.simulation.workload import Workload, sped_up
from loadtest.text_table import aligned
from serve_app.simulate import scaling
from serve_app.simulate.page import render
from serve_app.simulate.progress import Bar
from serve_app.simulate.reading import read_engine, read_workload
from serve_app.simulate.table import HEADER, line

WRONG_INPUT = 2
RESULT, REPORT = "result.json", "report.html"


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `options.add_arguments`."""
    try:
        workload = read_workload(
            args.trace, args.block_tokens, args.seed, args.requests, args.tick_s
        )
        fleet = _fleet(args)
        workload, about = _loaded(args, workload, fleet)
        results = _results(args, workload, fleet)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    print(aligned(HEADER, [line(each) for each in results]))
    if args.autoscale:
        print(aligned(scaling.HEADER, [scaling.line(each, results) for each in results]))
    folder = args.out or Path(f"simulation-{args.trace.stem}")
    _write(folder, results, {**_configuration(args), **about, "notes": list(workload.notes)})
    print(folder / REPORT)
    return 0


def _results(args: argparse.Namespace, workload: Workload, fleet: FleetPlan) -> list[Result]:
    """One for each policy, or for each scaler, all of these under the first policy. Raises
    ValueError."""
    if not args.autoscale:
        return [_simulated(args.seed, name, workload, fleet) for name in args.policy]

    def simulated(name: str, engines: int, elastic: Elastic | None) -> Run:
        kinds = [fleet.engines[number % len(fleet.engines)] for number in range(engines)]
        plan = replace(fleet, engines=kinds)
        with Bar(name) as bar:
            return _run(args.seed, args.policy[0], workload, plan, bar.show, elastic=elastic)

    return list(scaling.results(args, simulated))


def _fleet(args: argparse.Namespace) -> FleetPlan:
    """Raises ValueError, OSError."""
    kinds = [_kind(args, gpu) for gpu in args.gpu]
    return FleetPlan(
        engines=[kinds[number % len(kinds)] for number in range(args.engines)],
        gateways=args.gateways,
        report_every_s=args.report_every,
        delay_s=args.delay,
    )


def _kind(args: argparse.Namespace, gpu: str) -> EngineKind:
    gpus, model = args.gpus_per_engine, MODELS[args.model]
    step_time: StepTime = Roofline(GPUS[gpu], model, gpus)
    tokens: int | None = args.kv_tokens
    if args.step_time:
        measured = read_engine(args.step_time)
        step_time, tokens = measured.step_time, tokens or measured.kv_tokens
        if tokens is None:
            raise ValueError(
                f"--step-time {args.step_time} needs --kv-tokens: the file does not tell the "
                "engine's cache"
            )
    limits = EngineLimits(
        kv_blocks=(tokens or kv_tokens(GPUS[gpu], model, gpus)) // args.block_tokens,
        block_tokens=args.block_tokens,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_num_seqs=args.max_num_seqs,
    )
    return EngineKind(limits=limits, step_time=step_time)


def _loaded(
    args: argparse.Namespace, workload: Workload, fleet: FleetPlan
) -> tuple[Workload, dict[str, Any]]:
    """The workload at the rate asked for, and what is to be said of that rate."""
    if args.days:
        workload = with_days(
            workload, days=args.days, night_frac=args.night_frac, day_frac=args.day_frac
        )
    if args.max_tokens:
        workload = workload.asking(args.max_tokens)
    speed, saturated_rps = args.speed or 1.0, args.saturation_rps
    if args.load:
        if saturated_rps is None:
            saturated_rps = _saturation_rps(args, workload, fleet)
        speed = args.load * saturated_rps / workload.rate_rps
    workload = sped_up(workload, speed)
    offered_rps = workload.rate_rps if workload.span_s else None
    return workload, {"speed": speed, "offered_rps": offered_rps, "saturation_rps": saturated_rps}


def _saturation_rps(args: argparse.Namespace, workload: Workload, fleet: FleetPlan) -> float:
    policy = args.saturation_policy
    tries = 0

    def simulated(sped: Workload, until_s: float) -> Run:
        nonlocal tries
        tries += 1
        with Bar(f"saturation, run {tries}") as bar:
            return _run(args.seed, policy, sped, fleet, bar.show, until_s)

    found_rps = saturation_rps(workload, simulated)
    print(f"saturation with {policy}: {found_rps:.4g} requests/s")
    return found_rps


def _simulated(seed: int, policy: str, workload: Workload, fleet: FleetPlan) -> Result:
    with Bar(policy) as bar:
        return result(policy, _run(seed, policy, workload, fleet, bar.show))


def _run(
    seed: int,
    policy: str,
    workload: Workload,
    fleet: FleetPlan,
    progress: Progress,
    until_s: float = float("inf"),
    elastic: Elastic | None = None,
) -> Run:
    routers = [policies.router(policy) for _ in range(fleet.gateways)]
    rngs = [Random(f"gateway {number} {seed}") for number in range(fleet.gateways)]
    return simulate(
        workload, fleet, routers, rngs, elastic=elastic, until_s=until_s, progress=progress
    )


def _configuration(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments, without what the command line's parser adds, as JSON can hold them."""
    shown = {name: value for name, value in vars(args).items() if name not in ("run", "out")}
    return {n: str(v) if isinstance(v, Path | Slo) else v for n, v in shown.items()}


def _write(folder: Path, results: Sequence[Result], about: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(results, **about), indent=1, allow_nan=False)
    (folder / RESULT).write_text(text + "\n", encoding="utf-8")
    (folder / REPORT).write_text(render(results, about), encoding="utf-8")
