"""How each fault of the plan is done. Engines and gateways are processes of this machine here."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from loadtest.chaos.plan import ON_ENGINES, Action, Fault, FleetState
from loadtest.chaos.processes import processes_of
from loadtest.chaos.view import View

PAUSE_CORE_S = 3.0  # under any stall timeout that is worth setting
PAUSE_HOST_S = 4.0  # over the default heartbeat timeout, 1.5 s

VICTIM_PROCESS = {
    Fault.KILL_HOST: "host",
    Fault.TERMINATE_HOST: "host",
    Fault.PAUSE_HOST: "host",
    Fault.KILL_CORE: "EngineCore",
    Fault.STALL_CORE: "EngineCore",
    Fault.PAUSE_CORE: "EngineCore",
    Fault.KILL_WORKER: "Worker",
}
PAUSES_S = {Fault.PAUSE_CORE: PAUSE_CORE_S, Fault.PAUSE_HOST: PAUSE_HOST_S}
SIGNALS = {Fault.TERMINATE_HOST: signal.SIGTERM, Fault.STALL_CORE: signal.SIGSTOP}
"""Of the others: SIGKILL."""

Deploy = Callable[[Fault], Awaitable[str]]
"""Does a fault that Serve does; returns what was deployed, in words."""


Struck = Callable[[str], None]
"""Told what was done, in words, at the instant at which it was: a look for the victim takes time
before it, a pause after it."""


def _nobody(_: str) -> None:
    return


class MissedError(Exception):
    """The victim was gone before the fault could be done."""


@dataclass(slots=True)
class Faults:
    """`spent`: engines and gateways that will not stay, though some may still answer."""

    deploy: Deploy
    spent: set[str] = field(default_factory=set)

    def left(self, view: View, engines: int, gateways: int) -> FleetState:
        """What the plan may choose from; the fleet is to have so many engines and gateways."""
        return FleetState(
            ready=tuple(view.ready.keys() - self.spent),
            target=engines,
            gateways=tuple(view.gateways.keys() - self.spent),
            gateways_target=gateways,
        )

    async def do(self, action: Action, view: View, struck: Struck = _nobody) -> str:
        """Do it; returns what was done, in words. A pause takes as long as it lasts.

        Raises MissedError.
        """
        try:
            if action.fault is Fault.KILL_GATEWAY:
                os.kill(int(action.victim), signal.SIGKILL)
                struck(what := f"gateway process {action.victim}")
                return what
            if action.fault in ON_ENGINES:
                return await self._on_engine(action, view, struck)
        except (psutil.NoSuchProcess, ProcessLookupError) as error:
            raise MissedError(f"{action.victim} was gone already: {error}") from error
        if action.fault is Fault.REDEPLOY:  # an old gateway answers until its last stream ends
            self.spent |= view.gateways.keys()
        return await self.deploy(action.fault)

    async def _on_engine(self, action: Action, view: View, struck: Struck) -> str:
        kind = VICTIM_PROCESS[action.fault]
        # A list of what belongs to the host costs a look at every process: not on the event loop.
        processes = await asyncio.to_thread(processes_of, view.ready[action.victim])
        if action.fault is Fault.KILL_WORKER and not processes[kind]:
            kind = "EngineCore"  # which then runs the model itself
        if not processes[kind]:
            raise MissedError(f"{action.victim} has no {kind}")
        victim = processes[kind][0]
        what = f"{kind} {victim.pid} of engine {action.victim}"
        pause_s = PAUSES_S.get(action.fault)
        if pause_s is not None:
            what += f", for {pause_s:g} s"
            await _paused(victim, pause_s, lambda: struck(what))
            return what
        self.spent.add(action.victim)
        victim.send_signal(SIGNALS.get(action.fault, signal.SIGKILL))
        struck(what)
        return what


async def _paused(
    process: psutil.Process, pause_s: float, stopped: Callable[[], None] = lambda: None
) -> None:
    process.send_signal(signal.SIGSTOP)
    try:
        stopped()
        await asyncio.sleep(pause_s)
    finally:
        with suppress(psutil.NoSuchProcess):  # Serve may have replaced it meanwhile
            process.send_signal(signal.SIGCONT)
