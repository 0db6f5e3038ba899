"""`tokenfleet chaos`: which cluster, which load, and what comes of it.

Exit status: 0 the test passed, 1 it did not or could not be done, 2 wrong command line or spec.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from subprocess import CalledProcessError
from typing import Any

from loadtest.bench.servers import ServerError, resolved_spec, served_model
from loadtest.chaos import own, report
from loadtest.chaos.kinds import spread
from loadtest.chaos.plan import BY_SERVE, Fault, impossible
from loadtest.chaos.records import Row, RunRow, row_file
from loadtest.chaos.run import ChaosTest, Load, Subject
from loadtest.chaos.truth import SetUpError
from loadtest.chaos.watch import Watch
from loadtest.client import Endpoint
from loadtest.procstat import server_processes

FAILED, WRONG_INPUT = 1, 2

Emit = Callable[[Row], None]


class WrongInputError(Exception):
    """The command line asks for what cannot be done; the message says why."""


def run(args: argparse.Namespace) -> int:
    """The command, with the arguments of `options.add_arguments`."""
    try:
        found = asyncio.run(_interruptible(_tested(args)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _complain("interrupted", FAILED)
    except CalledProcessError as error:  # `tokenfleet check` has said what is wrong
        return error.returncode
    except WrongInputError as error:
        return _complain(error, WRONG_INPUT)
    except (SetUpError, ServerError, own.StartError, OSError) as error:
        return _complain(error, FAILED)
    print(f"\n{report.render(found)}", end="")
    return FAILED if found.problems else 0


async def _interruptible(work: Awaitable[report.Summary]) -> report.Summary:
    """SIGTERM ends it as Ctrl-C does: the cluster that it started is stopped."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _tested(args: argparse.Namespace) -> report.Summary:
    rows: list[Row] = []
    with row_file(args.out) as write:

        def emit(row: Row) -> None:
            rows.append(row)
            write(row)

        await (_on_own if args.url is None else _on_running)(args, emit)
    return report.summary(rows)


async def _on_own(args: argparse.Namespace, emit: Emit) -> None:
    """On a cluster that is started here, and stopped."""
    spec = _sized(await asyncio.to_thread(resolved_spec, args.spec), args)
    engines, gateways = spec["models"][0]["replicas"], spec["gateway"]["replicas"]
    load = _load(args, _checked(args.faults, engines, gateways))
    emit(_run_row(args, load))
    _say(f"starting {engines} engines and {gateways} gateways")
    deploys = bool(set(load.faults) & set(BY_SERVE))
    log = args.out and args.out.with_suffix(".log")
    async with own.running(spec, deploys=deploys, log=log) as cluster:
        _say(f"ready: http://{cluster.endpoint.host}:{cluster.endpoint.port}")
        subject = Subject(
            endpoint=cluster.endpoint,
            model=cluster.model,
            local=True,
            engines=lambda: cluster.engines,
            gateways=gateways,
            deploy=cluster.deploy,
        )
        end = await ChaosTest(subject, load, emit, _say).run()
    left = ["processes that outlived the cluster"] if cluster.left_something else []
    emit(replace(end, orphans=[*end.orphans, *left]))


def _sized(spec: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The spec with the model that is asked first, and with as many engines and gateways as asked
    for. Raises WrongInputError."""
    models = spec["models"]
    first = next((m for m in models if args.model in (None, m["name"])), None)
    if first is None:
        names = ", ".join(m["name"] for m in models)
        raise WrongInputError(f"--model {args.model}: the spec has {names}")
    others = [m for m in models if m is not first]
    sized = {**first, "replicas": args.engines or first["replicas"]}
    gateways = args.gateways or spec["gateway"]["replicas"]
    return {
        **spec,
        "models": [sized, *others],
        "gateway": {**spec["gateway"], "replicas": gateways},
    }


async def _on_running(args: argparse.Namespace, emit: Emit) -> None:
    """On a cluster that runs already, and stays."""
    endpoint = Endpoint.of(args.url, args.api_key)
    model = args.model or await asyncio.to_thread(served_model, endpoint)
    local = bool(await asyncio.to_thread(server_processes, endpoint.port))
    if args.faults and not local:
        raise WrongInputError(f"--faults: {args.url} is not on this machine, or not your own")
    view = await Watch(endpoint, model, local=local).look()
    engines, gateways = len(view.ready), len(view.gateways)
    faults = _checked(args.faults, engines, gateways, serve=False) if args.faults else ()
    load = _load(args, faults)
    emit(_run_row(args, load))
    _say(f"{engines} engines of {model}, {gateways} gateways" if local else f"{engines} engines")
    if not faults:
        _say("no faults from here: answers are checked while you do what you want to")
    subject = Subject(
        endpoint=endpoint,
        model=model,
        local=local,
        engines=lambda: engines,
        gateways=gateways,
        deploy=_no_deploy,
    )
    emit(await ChaosTest(subject, load, emit, _say).run())


async def _no_deploy(fault: Fault) -> str:
    raise AssertionError(f"{fault} was refused by `_checked`")


def _checked(
    faults: tuple[Fault, ...] | None, engines: int, gateways: int, *, serve: bool = True
) -> tuple[Fault, ...]:
    """The faults to choose from; None means all that can be done. Raises WrongInputError for one
    that cannot."""
    reasons = {fault: impossible(fault, engines, gateways) for fault in Fault}
    if not serve:
        reasons |= dict.fromkeys(BY_SERVE, "only on a cluster started for it, without --url")
    for fault in faults or ():
        if reasons[fault] is not None:
            raise WrongInputError(f"--faults {fault}: {reasons[fault]}")
    return tuple(fault for fault in faults or Fault if reasons[fault] is None)


def _load(args: argparse.Namespace, faults: tuple[Fault, ...]) -> Load:
    return Load(
        kinds=tuple(spread(args.kinds, *args.tokens)),
        streams=args.streams,
        faults=faults,
        duration_s=args.duration,
        kill_every_s=args.kill_every,
        seed=args.seed,
    )


def _run_row(args: argparse.Namespace, load: Load) -> RunRow:
    settings = {
        "url": args.url,
        "spec": None if args.url else args.spec,
        "faults": [str(fault) for fault in load.faults],
        "kinds": [kind.name for kind in load.kinds],
        "tokens": list(args.tokens),
        **{name: getattr(load, name) for name in ("streams", "duration_s", "kill_every_s", "seed")},
    }
    return RunRow(started_at=datetime.now(UTC).isoformat(timespec="seconds"), settings=settings)


def _say(what: str) -> None:
    print(what, flush=True)


def _complain(error: Exception | str, status: int) -> int:
    print(error, file=sys.stderr, flush=True)
    return status
