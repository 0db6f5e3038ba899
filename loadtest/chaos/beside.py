"""`python -m loadtest.chaos.beside`: faults beside a load that another process sends.

A process of its own: Locust patches the one it runs in, and a look at all processes of a machine
would hold up its clocks. What it is asked for and what it answers says `loadtest/chaos/order.py`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from random import Random
from time import monotonic
from typing import Any

import psutil

from loadtest.bench.servers import fetch
from loadtest.chaos.faults import PAUSES_S, Faults, MissedError
from loadtest.chaos.order import Order, order_of
from loadtest.chaos.plan import BY_SIGNAL, ON_ENGINES, Action, Fault, Plan, impossible
from loadtest.chaos.view import Answered, View, read
from loadtest.chaos.watch import Watch
from loadtest.client import Endpoint
from loadtest.procstat import Role, role_of
from loadtest.runtime.options import ADMIN_KEY_VARIABLE

LOOK_EVERY_S = 1.0
FLEET = "/fleet"

Emit = Callable[[dict[str, Any]], None]


class RefusedError(Exception):
    """The faults cannot be done to this target; the message says why."""


class Beside:
    """The faults of one load. `emit` gets their marks."""

    def __init__(self, order: Order, emit: Emit) -> None:
        self._order, self._emit = order, emit
        self._endpoint = _endpoint(order)
        self._watch = Watch(self._endpoint, order.model, local=True)
        self._faults = Faults(_no_deploy)
        self._engines = self._gateways = 0  # that the fleet is to have
        self._began_s = 0.0

    async def run(self, faults: tuple[Fault, ...], began_at_s: float) -> None:
        """Until the load's time is over; it begins at `began_at_s`, in seconds of the epoch."""
        self._began_s = monotonic() + began_at_s - time.time()
        order = self._order
        plan = Plan(
            faults,
            engines=self._engines,
            kill_every_s=order.every_s,
            duration_s=order.duration_s,
            rng=Random(f"faults {order.seed}"),
        )
        while self._now_s < order.duration_s:
            view = await self._watch.look()
            left = self._faults.left(view, self._engines, self._gateways)
            action = plan.next(left, self._now_s)
            if action is None:
                await asyncio.sleep(LOOK_EVERY_S)
            else:
                await self._do(action, view)

    async def check(self) -> tuple[Fault, ...]:
        """The faults to choose from. Raises RefusedError."""
        said = await asyncio.to_thread(self._said)
        view = await self._watch.look()
        if not view.gateways or not _same(said, view):
            raise RefusedError(
                f"the engines that {self._order.url}{FLEET} lists are no processes of this "
                "machine, or not your own"
            )
        self._engines, self._gateways = len(view.ready), len(view.gateways)
        return _possible(self._order, self._engines, self._gateways)

    def _said(self) -> Answered:
        """What the target itself says of its engines, wherever it is."""
        url, model = self._order.url, self._order.model
        body = fetch(self._endpoint, FLEET)
        if body is None:
            raise RefusedError(
                f"{url} has no GET {FLEET}: it is no Tokenfleet, or wants an admin's key, which "
                f"${ADMIN_KEY_VARIABLE} may have"
            )
        said = read(json.loads(body), model)
        if said is None:
            raise RefusedError(f"{url}{FLEET} lists no model {model!r}")
        return said

    async def _do(self, action: Action, view: View) -> None:
        marks: list[dict[str, Any]] = []

        def struck(what: str) -> None:
            marks.append({"at_s": round(self._now_s, 3), "kind": action.fault, "what": what})

        try:
            if action.fault in ON_ENGINES and not _is_here(view.ready[action.victim]):
                raise MissedError(f"engine {action.victim} is not on this machine")
            await self._faults.do(action, view, struck)
        except MissedError as error:
            print(f"{action.fault} was not done: {error}", file=sys.stderr, flush=True)
        finally:  # a pause may be cut short, and has its mark and its end all the same
            end = {"end_s": round(self._now_s, 3)} if action.fault in PAUSES_S else {}
            for mark in marks:
                self._emit(mark | end)

    @property
    def _now_s(self) -> float:
        return monotonic() - self._began_s


def _endpoint(order: Order) -> Endpoint:
    try:
        return Endpoint.of(order.url, order.api_key)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def _same(said: Answered, view: View) -> bool:
    """Whether the target's engines are those of the fleet on this machine, which might be another
    one on the same port: their ids are random."""
    listed = view.listed
    pids = {row.id: row.pid for row in said.engines if row.state == "ready" and row.pid}
    return all(listed.get(e) == pid and _is_here(pid) for e, pid in pids.items())


def _is_here(pid: int) -> bool:
    """Whether it is an engine's host on this machine: a fleet may have several, each with its own
    numbers for processes."""
    try:
        title = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return role_of(title) is Role.ENGINE_HOST


def _possible(order: Order, engines: int, gateways: int) -> tuple[Fault, ...]:
    """Those asked for, or all that can be done. Raises RefusedError for one that cannot, and where
    none is left."""
    reasons = {fault: impossible(fault, engines, gateways) for fault in order.faults or BY_SIGNAL}
    refused = [f"{fault} {reason}" for fault, reason in reasons.items() if reason is not None]
    possible = tuple(fault for fault, reason in reasons.items() if reason is None)
    if refused and (order.faults or not possible):
        raise RefusedError("; ".join(refused))
    return possible


async def _no_deploy(fault: Fault) -> str:
    raise AssertionError(f"{fault} is not done by a signal")


async def _ordered(lines: asyncio.StreamReader) -> None:
    """What standard input says, until it ends."""
    try:
        beside = Beside(order_of(await lines.readline()), _say)
        faults = await beside.check()
    except RefusedError as error:
        return _say({"refused": str(error)})
    _say({"faults": list(faults)})
    if not (line := await lines.readline()):
        return
    doing = asyncio.create_task(beside.run(faults, json.loads(line)["began_at_s"]))
    ended = asyncio.create_task(lines.read())
    await asyncio.wait({doing, ended}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        doing.cancel()
    await asyncio.wait({doing})
    if not doing.cancelled():
        doing.result()  # raises what it ended with
    await ended


def _say(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


async def _main() -> None:
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await _ordered(lines)


if __name__ == "__main__":
    asyncio.run(_main())
