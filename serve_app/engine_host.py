"""The engine host: one vLLM EngineCore, serving any number of switches over one ROUTER socket.

Requests come in under attempt ids that no two switches share; each engine step goes out as at most
one message per switch. The core's own async client does the talking to the core, as in vLLM's
server. A switch that can no longer be reached has its requests aborted: nobody would read them. So
has one that breaks the protocol, which is heard no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine
from typing import Any, Protocol

import zmq
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest
from vllm.v1.engine.exceptions import EngineDeadError

from cluster.stall import StepClock
from serve_app import resume
from serve_app.engine_address import EngineAddress
from serve_app.engine_metrics import EngineMetrics
from serve_app.host_identity import HostIdentity
from serve_app.host_socket import HostSocket
from serve_app.kv_events import KvEvents
from serve_app.link import Heartbeat
from serve_app.load_meter import LoadMeter
from serve_app.prompt_blocks import prompt_blocks
from serve_app.scaling_stats import engine_stats
from serve_app.stall_watch import StallWatch
from serve_app.switch_engines import load_report
from serve_app.wire import (
    WIRE_VERSION,
    Abort,
    Bye,
    Frames,
    Hello,
    Kind,
    KvAsk,
    Leaving,
    OutputsCodec,
    RequestCodec,
    Result,
    Utility,
    WireError,
    kind_of,
    pack,
    unpack,
)
from serve_app.wire_cache import changes_message, snapshot_message

logger = logging.getLogger("tokenfleet.engine")

LOAD_EVERY_S = 0.25

CACHE_EVERY_S = 0.05
"""How often switches hear of blocks that decoding fills, at most; of a prompt's they hear with its
first token, until when they take them to be there."""

CACHE_LATE_S = 0.005
"""By then what a step stored has been told: vLLM's core does that on a thread beside the steps."""

REMEMBERED_DROPS = 1024
"""Dropped switches whose later messages are ignored: they are still connected, and may still send.
"""


class Core(Protocol):
    """The part of vLLM's async core client that a host uses; a fake in unit tests."""

    async def get_output_async(self) -> EngineCoreOutputs: ...

    async def add_request_async(self, request: EngineCoreRequest) -> None: ...

    async def abort_requests_async(self, request_ids: list[str]) -> None: ...

    async def call_utility_async(self, method: str, *args: Any) -> Any: ...


class EngineHost:
    """`start` on a running loop; `failure` is set once the core is dead, and stays.

    `switch_keys` are the public keys of the switches that are let in; `kv_events` tell what the
    core's cache holds, where it publishes that; `metrics` are recorded where given.
    """

    def __init__(
        self,
        core: Core,
        identity: HostIdentity,
        heartbeat: Heartbeat,
        switch_keys: frozenset[bytes],
        clock: StepClock,
        kv_events: KvEvents | None = None,
        metrics: EngineMetrics | None = None,
    ) -> None:
        self.failure: str | None = None
        self._core, self._identity = core, identity
        self._requests, self._outputs = RequestCodec(), OutputsCodec()
        self._owners: dict[str, bytes] = {}  # attempt id -> switch
        self._switches: dict[bytes, int] = {}  # -> requests received
        self._dropped: dict[bytes, None] = {}  # oldest first
        self._bad_messages = 0
        self._leaving: Leaving | None = None
        self._idle = asyncio.Event()  # nothing runs here
        self._idle.set()
        self._stalls = StallWatch(clock)
        self._meter = LoadMeter()
        self._tells_soon = False
        self._cache_told_at_s = 0.0
        self._kv_events = kv_events
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = HostSocket(heartbeat, switch_keys)

    def start(self, address: str, ports: tuple[int, int] | None = None) -> EngineAddress:
        """Bind to `address` (a port of `ports`, both ends included, or any free one) and serve.

        Returns what a switch needs to connect. Raises zmq.ZMQError where no port is free.
        """
        bound = self._socket.bind(address, ports)
        for loop in (
            self._serve_switches(),
            self._pass_steps(),
            self._report_load(),
            self._watch_steps(),
        ):
            self._spawn(loop)
        if self._kv_events is not None:
            self._kv_events.follow(self._identity.block_tokens)
        return bound

    async def stop(self, reason: str) -> None:
        """Tell the switches and close; they move what is still running here."""
        await self._say_bye(core_dead=False, reason=reason)
        self._close()

    async def drain(self, reason: str, timeout_s: float) -> bool:
        """Have the switches move what another engine can take over, and finish the rest.

        Returns whether nothing runs here any more, False after `timeout_s`.
        """
        self._leaving = Leaving(reason)
        for switch in tuple(self._switches):
            await self._send(switch, pack(Kind.LEAVING, self._leaving))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        return self._idle.is_set()

    async def scaling_stats(self) -> dict[str, float]:
        """What the scaler is told of this engine."""
        load = self._meter.load(received=0, bad_messages=0)
        blocks = 0 if self._kv_events is None else self._kv_events.held_blocks
        return engine_stats(load_report(load), self._identity.kv_total_tokens, blocks)

    def crash(self) -> None:
        """Close without a word, as a killed process does; for tests."""
        self._close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # From the switches

    async def _serve_switches(self) -> None:
        while True:
            switch, frames = await self._socket.receive()
            if switch in self._dropped:
                continue
            try:
                await self._handle(switch, frames)
            except EngineDeadError:
                return  # `_pass_steps` sees it too, and tells everyone
            except WireError as error:
                await self._drop(switch, str(error))
            except Exception as error:  # one switch's message must not end everybody's streams
                logger.exception("a message could not be handled")
                await self._drop(switch, f"{type(error).__name__}: {error}")

    async def _handle(self, switch: bytes, frames: Frames) -> None:
        kind = kind_of(frames)
        if kind is Kind.HELLO:
            await self._welcome(switch, unpack(frames, Hello))
        elif switch not in self._switches:
            raise WireError(f"{kind.name} before HELLO")
        elif kind is Kind.ADD:
            await self._add(switch, self._requests.decode(frames))
        elif kind is Kind.ABORT:
            await self._abort(unpack(frames, Abort).request_ids)
        elif kind is Kind.UTILITY:
            self._spawn(self._call(switch, unpack(frames, Utility)))
            await asyncio.sleep(0)  # let it send before the next message: order is kept
        elif kind is Kind.KV_ASK:
            unpack(frames, KvAsk)
            await self._send_cache(switch)
        else:
            raise WireError(f"{kind.name} is not for an engine host")

    async def _add(self, switch: bytes, request: EngineCoreRequest) -> None:
        if request.request_id not in self._owners:  # else it is more of its input
            self._switches[switch] += 1
        self._owners[request.request_id] = switch
        self._idle.clear()
        now_s = time.monotonic()
        self._stalls.work(now_s)
        self._meter.added(request.request_id, self._tokens_to_prefill(request), now_s)
        await self._core.add_request_async(request)

    def _tokens_to_prefill(self, request: EngineCoreRequest) -> int:
        tokens = resume.prompt_tokens(request)
        if self._kv_events is None:
            return tokens
        block_tokens = self._identity.block_tokens
        cached = self._kv_events.cached_blocks(prompt_blocks(request, block_tokens))
        return max(tokens - cached * block_tokens, 1)  # the last token is always computed

    async def _welcome(self, switch: bytes, hello: Hello) -> None:
        if hello.version != WIRE_VERSION:
            raise WireError(f"wire version {hello.version}, this host speaks {WIRE_VERSION}")
        self._switches[switch] = 0
        await self._send(switch, pack(Kind.READY, self._identity.ready()))
        await self._send_cache(switch)
        if self._leaving is not None:
            await self._send(switch, pack(Kind.LEAVING, self._leaving))

    async def _abort(self, request_ids: list[str]) -> None:
        for request_id in request_ids:
            self._disown(request_id)
        if not self._owners:
            self._stalls.no_work()
        await self._core.abort_requests_async(request_ids)

    async def _call(self, switch: bytes, call: Utility) -> None:
        self._stalls.call_begins(call.method, time.monotonic())
        try:
            value = await self._core.call_utility_async(call.method, *call.args)
            reply = pack(Kind.RESULT, Result(call.call_id, None, value))
            self._stalls.answered(call.method, value)
        except Exception as error:  # whatever it is, it is the answer
            reply = pack(Kind.RESULT, Result(call.call_id, str(error), None))
        self._stalls.call_ends(call.method, time.monotonic())
        await self._send(switch, reply)

    def _disown(self, request_id: str) -> None:
        self._owners.pop(request_id, None)
        self._meter.gone(request_id)
        if not self._owners:
            self._idle.set()

    async def _forget(self, switch: bytes) -> None:
        """Drop a switch that is gone or misbehaves, and what it had running."""
        self._switches.pop(switch, None)
        orphans = [request_id for request_id, owner in self._owners.items() if owner == switch]
        if orphans:
            logger.warning("a switch is gone: its %d requests are aborted", len(orphans))
            with contextlib.suppress(EngineDeadError):
                await self._abort(orphans)

    async def _drop(self, switch: bytes, why: str) -> None:
        """Hear a switch no more, and tell it, so that one that is only mistaken starts anew."""
        self._bad_messages += 1
        logger.error("a switch sent a bad message, dropped: %s", why)
        self._dropped[switch] = None
        if len(self._dropped) > REMEMBERED_DROPS:
            del self._dropped[next(iter(self._dropped))]
        was_known = switch in self._switches
        await self._forget(switch)
        if was_known:  # another may not even read this protocol
            bye = Bye(core_dead=False, reason=f"it was sent a bad message: {why}")
            await self._send(switch, pack(Kind.BYE, bye))

    # To the switches

    async def _pass_steps(self) -> None:
        while True:
            try:
                outputs = await self._core.get_output_async()
            except EngineDeadError as error:
                await self._die(str(error))
                return
            stats, outputs.scheduler_stats = outputs.scheduler_stats, None
            if stats is not None:
                self._meter.step(stats, outputs.timestamp)
            await self._pass_step(outputs)
            if stats is not None and self._metrics is not None:
                self._metrics.step(stats)
            self._stalls.step(time.monotonic(), more=bool(self._owners))

    async def _pass_step(self, outputs: EngineCoreOutputs) -> None:
        if not outputs.outputs:
            return
        self._meter.count_step()
        begun_requests = self._meter.begun_requests
        shares = self._by_switch(outputs)
        begins = self._meter.begun_requests > begun_requests
        due = outputs.timestamp >= self._cache_told_at_s + CACHE_EVERY_S
        if begins or due:
            await self._tell_cache_changes()
        if begins and not self._tells_soon:
            self._tells_soon = True
            self._spawn(self._tell_late_cache_changes())
        for switch, own in shares.items():
            await self._send(switch, self._outputs.encode(own))

    def _by_switch(self, outputs: EngineCoreOutputs) -> dict[bytes, EngineCoreOutputs]:
        """The step divided among its switches; with one switch, the step itself."""
        shares: dict[bytes, list[EngineCoreOutput]] = {}
        for output in outputs.outputs:
            request_id = output.request_id
            owner = self._owners.get(request_id)
            if owner is None:
                continue  # aborted while the step ran
            self._meter.output(output)
            shares.setdefault(owner, []).append(output)
            if output.finish_reason is not None:
                self._disown(request_id)
        if len(shares) == 1:
            (switch,) = shares
            outputs.outputs = shares[switch]
            return {switch: outputs}
        return {switch: _share(outputs, share) for switch, share in shares.items()}

    async def _report_load(self) -> None:
        while True:
            await asyncio.sleep(LOAD_EVERY_S)
            await self._tell_cache_changes()
            if self._metrics is not None:
                self._metrics.refresh(is_idle=not self._owners)
            for switch, received in tuple(self._switches.items()):
                load = self._meter.load(received=received, bad_messages=self._bad_messages)
                await self._send(switch, pack(Kind.LOAD, load))

    async def _tell_late_cache_changes(self) -> None:
        await asyncio.sleep(CACHE_LATE_S)
        self._tells_soon = False
        await self._tell_cache_changes()

    async def _tell_cache_changes(self) -> None:
        self._cache_told_at_s = time.monotonic()
        changes = None if self._kv_events is None else self._kv_events.changes()
        if changes is not None:
            message = changes_message(changes)
            for switch in tuple(self._switches):
                await self._send(switch, message)

    async def _send_cache(self, switch: bytes) -> None:
        if self._kv_events is not None:
            await self._send(switch, snapshot_message(self._kv_events.snapshot()))

    async def _send(self, switch: bytes, frames: Frames) -> None:
        try:
            await self._socket.send(switch, frames)
        except zmq.ZMQError as error:
            # EHOSTUNREACH: disconnected. EAGAIN: it does not read. Its requests end here either
            # way; a switch that lives reconnects and has moved them.
            logger.warning("a switch cannot be reached: %s", error)
            await self._forget(switch)

    # The end

    async def _watch_steps(self) -> None:
        while True:
            await asyncio.sleep(LOAD_EVERY_S)
            stalled_s = self._stalls.stalled_s(time.monotonic())
            if stalled_s is not None:
                running = len(self._owners)
                await self._die(
                    f"no step for {stalled_s:.1f} s with {running} requests running, "
                    f"{self._stalls.calls} calls not answered"
                )
                return

    async def _die(self, reason: str) -> None:
        self.failure = reason
        logger.error("the engine core is dead: %s", reason)
        await self._say_bye(core_dead=True, reason=f"its engine core is dead: {reason}")
        self._close()

    async def _say_bye(self, *, core_dead: bool, reason: str) -> None:
        bye = pack(Kind.BYE, Bye(core_dead, reason))
        await self._socket.farewell(tuple(self._switches), bye)

    def _close(self) -> None:
        current = _current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        if self._kv_events is not None:
            self._kv_events.close()
        self._socket.close()


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _share(outputs: EngineCoreOutputs, own: list[EngineCoreOutput]) -> EngineCoreOutputs:
    return EngineCoreOutputs(
        outputs=own, timestamp=outputs.timestamp, weight_version=outputs.weight_version
    )
