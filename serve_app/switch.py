"""The switch: one per model in each Gateway process, on its own thread, between the API server's
engine client and the engine hosts.

To the API server it is the one engine that never dies; to each engine host it is an API server.
What it does with a message is decided in `switch_core`; this file joins that to the sockets
(`front_port`, `link`), the thread (`reactor`) and the clock. It speaks only vLLM's engine protocol
to the API server, so that any server that speaks it too can stand there.
"""

from __future__ import annotations

import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest

from cluster.failover import FailoverLimits, LossCause
from cluster.lifecycle import ENGINE, EngineEvent, EngineState
from cluster.routing import Router
from cluster.routing.explain import Explanation
from cluster.scaling.limits import Slo
from cluster.scaling.request_counts import RequestCounts
from cluster.scaling.signals import GatewaySignals
from cluster.types import ReplicaId
from serve_app.engine_address import EngineAddress
from serve_app.engine_choice import OnDecision
from serve_app.failures import Failure
from serve_app.flight_news import Expected, OnNews, engine_states
from serve_app.front_port import FrontAddresses, FrontPort
from serve_app.link import Heartbeat, Link
from serve_app.reactor import Reactor
from serve_app.switch_core import SwitchCore
from serve_app.switch_engines import Move
from serve_app.switch_measures import Measured
from serve_app.wire import (
    WIRE_VERSION,
    Abort,
    Bye,
    Frames,
    Kind,
    KvAsk,
    Leaving,
    Load,
    OutputsCodec,
    Ready,
    RequestCodec,
    Result,
    Utility,
    WireError,
    kind_of,
    pack,
    unpack,
)
from serve_app.wire_cache import cache_news
from serve_app.wire_security import KeyPair

logger = logging.getLogger("tokenfleet.switch")

STATS_EVERY_S = 1.0

RECENT_S = 600.0
"""How far back `GET /fleet` shows the engines that were lost."""


class Switch:
    """Runs from construction until `stop`. Its public methods may be called from any thread.

    `keys` are what it shows to engines (`wire_security.WireKeys.own`).

    `on_engines` is called, from the switch's thread, with the number of engines that can take a
    request, whenever it has changed; `on_decision` with every routing decision; `on_news` with what
    is over, before the API server hears of it, and with the engines' state when one comes or goes,
    and whenever it changes while it is `watch`ed.
    `slo` is what the scaler is told was in time.
    """

    def __init__(
        self,
        *,
        name: str,
        router: Router,
        limits: FailoverLimits,
        max_flights: int,
        heartbeat: Heartbeat,
        keys: KeyPair,
        rng: random.Random | None = None,
        on_engines: Callable[[int], None] | None = None,
        on_decision: OnDecision | None = None,
        on_news: OnNews = lambda _news: None,
        slo: Slo | None = None,
    ) -> None:
        self.name = name
        self.addresses = FrontAddresses.fresh()
        self._id = f"{name}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        self._heartbeat, self._keys = heartbeat, keys
        self._on_engines = on_engines
        self._told_engines = 0
        self._on_news, self._is_watched = on_news, False
        self._core = SwitchCore(
            router=router,
            rng=rng or random.Random(),
            limits=limits,
            max_flights=max_flights,
            ports=self,
            session=uuid.uuid4().hex[:6],
            on_decision=on_decision,
            slo=slo,
        )
        self._first_ready: Future[Ready] = Future()
        self._requests, self._outputs = RequestCodec(), OutputsCodec()
        self._links: dict[str, Link] = {}
        self._front: FrontPort | None = None
        self._next_stats_s = 0.0
        self._reactor = Reactor(
            f"switch-{name}",
            on_turn=self._on_turn,
            on_tick=self._on_tick,
            on_stop=self._close_links,
        )
        self._reactor.start()

    # Any thread

    def set_members(self, addresses: Mapping[str, EngineAddress]) -> None:
        """The engines that exist now, by replica id; called whenever the set changes."""
        members = dict(addresses)
        self._reactor.post(lambda: self._apply_members(members))

    def first_ready(self) -> Future[Ready]:
        """Done when the first engine of this model is ready, with what it said."""
        return self._first_ready

    def attach_front(self) -> None:
        """Connect to the API server's sockets and announce the engine; call once an engine is
        ready, before or while the engine client is built."""
        self._reactor.post(self._connect_front)

    def failure_of(self, external_request_id: str) -> Failure | None:
        """Why a request ended in an error, if the switch ended it."""
        return self._core.failures.get(external_request_id)

    def snapshot(self) -> dict[str, Any]:
        """Engines and flights as `GET /fleet` shows them."""
        return self._reactor.call(self._snapshot)

    def explain(self, request: EngineCoreRequest) -> dict[str, Any] | None:
        """Where a request would go now and why, as `POST /fleet/explain` shows it; None where no
        engine can take one."""
        found = self._reactor.call(lambda: self._core.explain(request))
        return None if found is None else found.as_json()

    def measured(self) -> Measured:
        """For the metrics."""
        return self._reactor.call(self._measured)

    def ready_engines(self) -> int:
        """How many engines can take a request now."""
        return self._core.open_engines

    def counted(self, gateway: str, held_requests: int, *more: RequestCounts) -> GatewaySignals:
        """What has come through here, for the scaler, and what was counted outside of it, where
        `held_requests` wait."""
        return self._core.counts.signals(gateway, held_requests + len(self._core.held), *more)

    def watch(self, wanted: bool) -> None:
        """Whether news is to say how the engines are, whenever there may be more room: now, too."""
        self._is_watched = wanted
        if wanted:
            self._reactor.post(self._look_again)

    def expect(self, name: str, expected: Expected) -> None:
        """A request of that name will come."""
        self._core.expected[name] = expected

    def forget(self, name: str) -> None:
        """It has come, or will not."""
        self._core.expected.pop(name, None)

    def pause(self, names: Sequence[str]) -> None:
        """Take these from their engines until they are to `go_on`."""
        self._reactor.post(lambda: self._core.pause(names, time.monotonic()))

    def go_on(self, names: Sequence[str]) -> None:
        """With others before them these were paused; it is their turn again."""
        self._reactor.post(lambda: self._core.resume(names, time.monotonic()))

    def stop(self) -> None:
        """End the thread and close every socket; the engines abort what was running for it."""
        self._reactor.stop()

    # Time, on the switch's thread from here on

    def _on_tick(self, now_s: float) -> None:
        self._core.tick(now_s)
        for link in self._links.values():
            if link.state is EngineState.DOWN and now_s >= link.retry_at_s:
                link.advance(EngineEvent.RETRIED)
                link.connect(self._id)
        if now_s >= self._next_stats_s:
            self._next_stats_s = now_s + STATS_EVERY_S
            self.outputs(self._core.stats())

    def _on_turn(self) -> None:
        self._tell_engines()
        news = self._core.news
        if news.has_ended or news.others or (self._is_watched and news.changed):
            self._tell_news()

    def _look_again(self) -> None:
        self._core.news.changed = True

    def _tell_news(self) -> None:
        core = self._core
        if not (self._is_watched or core.news.others):
            self._on_news(core.news.take(None))
            return
        engines = engine_states(core.engines.values(), core.view, time.monotonic())
        self._on_news(core.news.take(engines, core.running_batch()))

    def _tell_engines(self) -> None:
        engines = self._core.open_engines
        if engines != self._told_engines:
            self._told_engines = engines
            if self._on_engines is not None:
                self._on_engines(engines)

    # Membership and links

    def _apply_members(self, members: Mapping[str, EngineAddress]) -> None:
        for link in list(self._links.values()):
            address = members.get(link.engine_id)
            event = EngineEvent.UNLISTED if address is None else EngineEvent.LISTED
            moved_house = address is not None and address != link.address
            if link.advance(event) is EngineState.GONE or moved_house:
                self._remove(link)
            else:
                self._update_leaving(link)
        for engine_id in members.keys() - self._links.keys():
            link = self._links[engine_id] = Link(
                self._reactor,
                engine_id,
                members[engine_id],
                self._keys,
                self._heartbeat,
                self._on_message,
                self._on_lost,
            )
            link.connect(self._id)

    def _update_leaving(self, link: Link) -> None:
        leaving = link.state.takes_nothing_new
        self._core.engine_leaving(ReplicaId(link.engine_id), leaving, time.monotonic())

    def _remove(self, link: Link) -> None:
        del self._links[link.engine_id]
        link.close()
        self._core.engine_lost(ReplicaId(link.engine_id), LossCause.REMOVED, time.monotonic())

    def _close_links(self) -> None:
        for link in self._links.values():
            link.close()

    def _on_lost(self, link: Link) -> None:
        self._drop(link, LossCause.DISCONNECTED)

    def _drop(self, link: Link, cause: LossCause) -> None:
        """Give up this connection, if it is not yet; try again later, while Serve lists the
        engine."""
        if EngineEvent.LOST not in ENGINE.get(link.state, {}):
            return
        link.close()
        link.retry_at_s = time.monotonic() + link.retry_after_s
        if link.advance(EngineEvent.LOST) is EngineState.GONE:
            del self._links[link.engine_id]
        self._core.engine_lost(ReplicaId(link.engine_id), cause, time.monotonic())

    def _drop_life(self, link: Link, life: int) -> None:
        if link.life == life:
            self._drop(link, LossCause.DISCONNECTED)

    def _on_message(self, link: Link, frames: Frames) -> None:
        try:
            self._handle(link, frames)
        except WireError as error:
            link.bad_messages += 1
            logger.error("engine %s sent a bad message, dropped: %s", link.engine_id, error)
            self._drop(link, LossCause.DISCONNECTED)

    def _handle(self, link: Link, frames: Frames) -> None:
        engine_id, kind = ReplicaId(link.engine_id), kind_of(frames)
        if kind is Kind.STEP:
            self._core.step(engine_id, self._outputs.decode(frames), time.monotonic())
        elif kind is Kind.LOAD:
            self._core.load(engine_id, unpack(frames, Load), time.monotonic())
        elif kind in (Kind.KV, Kind.KV_ALL):
            self._core.cache(engine_id, cache_news(frames))
        elif kind is Kind.RESULT:
            self._core.result(engine_id, unpack(frames, Result))
        elif kind is Kind.READY:
            self._on_ready(link, unpack(frames, Ready))
        elif kind is Kind.LEAVING:
            link.advance(EngineEvent.LEAVES)
            logger.info("engine %s leaves: %s", engine_id, unpack(frames, Leaving).reason)
            self._update_leaving(link)
        elif kind is Kind.BYE:
            self._on_bye(link, unpack(frames, Bye))
        else:
            raise WireError(f"{kind.name} is not for a switch")

    def _on_ready(self, link: Link, ready: Ready) -> None:
        if ready.version != WIRE_VERSION:
            raise WireError(f"wire version {ready.version}, this switch speaks {WIRE_VERSION}")
        if ready.block_tokens < 1:
            raise WireError(f"KV blocks of {ready.block_tokens} tokens, at least 1 is needed")
        link.advance(EngineEvent.READY)
        link.ready, link.refusal = ready, None
        endpoint = link.address.endpoint
        logger.info("engine %s ready at %s (pid %d)", link.engine_id, endpoint, ready.pid)
        self._core.engine_joined(ReplicaId(link.engine_id), ready, time.monotonic())
        if not self._first_ready.done():
            self._first_ready.set_result(ready)

    def _on_bye(self, link: Link, bye: Bye) -> None:
        logger.warning("engine %s is gone: %s", link.engine_id, bye.reason)
        self._drop(link, LossCause.CORE_DEAD if bye.core_dead else LossCause.REMOVED)

    # What the API server asks

    def _connect_front(self) -> None:
        self._front = FrontPort(
            self._reactor.context,
            self.addresses,
            self._first_ready.result(0).core_ready,
            self,
            self._reactor.register,
        )

    def on_request(self, request: EngineCoreRequest) -> None:
        self._core.request(request, time.monotonic())

    def on_abort(self, request_ids: list[str]) -> None:
        self._core.abort(request_ids, time.monotonic())

    def on_utility(self, call_id: int, method: str, args: list[Any]) -> None:
        self._core.utility(call_id, method, args, time.monotonic())

    # What the core sends (`switch_core.Ports`)

    def add(self, engine_id: ReplicaId, request: EngineCoreRequest) -> None:
        self._send(engine_id, self._requests.encode(request))

    def abort(self, engine_id: ReplicaId, attempt_ids: list[str]) -> None:
        self._send(engine_id, pack(Kind.ABORT, Abort(attempt_ids)))

    def ask(self, engine_id: ReplicaId, call: Utility) -> None:
        self._send(engine_id, pack(Kind.UTILITY, call))

    def ask_cache(self, engine_id: ReplicaId) -> None:
        self._send(engine_id, pack(Kind.KV_ASK, KvAsk()))

    def _send(self, engine_id: ReplicaId, frames: Frames) -> None:
        link = self._links.get(engine_id)
        if link is not None and not link.send(frames):
            life = link.life
            # Not from inside the core's own call: it may be half-way through this flight.
            self._reactor.post(lambda: self._drop_life(link, life))

    def outputs(self, outputs: EngineCoreOutputs) -> None:
        if self._core.news.has_ended:
            self._tell_news()
        if self._front is not None:
            self._front.send(outputs)

    def answer(self, result: Result) -> None:
        if self._front is not None:
            self._front.answer(result)

    # What `GET /fleet` shows

    def _snapshot(self) -> dict[str, Any]:
        core = self._core
        return {
            "engines": [self._engine_row(link) for link in self._links.values()],
            "flights": {
                "active": len(core.flights),
                "moved": core.counters.moved,
                "failed": core.counters.failed,
            },
            "losses": self._recent_losses(time.monotonic()),
            "moves": [_move_row(move, time.monotonic()) for move in core.moves],
            "decisions": [_decision_row(each) for each in core.last_decisions()],
            "counts": {
                "finished": core.counters.finished,
                "began": core.counts.ttft_total,
                "ttft_sum_s": round(core.counts.ttft_sum_s, 3),
                "output_tokens": core.counters.output_tokens,
            },
        }

    def _measured(self) -> Measured:
        core, found = self._core, self._core.measures
        return Measured(
            flights=len(core.flights),
            ttft_total=core.counts.ttft_total,
            ttft_good=core.counts.ttft_good,
            moves=dict(found.moves),
            failures=dict(found.failures),
            losses=dict(found.losses),
            decisions=dict(found.decisions),
            decision_s=found.decision_s,
            routed_tokens=found.routed_tokens,
            hit_tokens=found.hit_tokens,
            gaps_s=found.take_gaps(),
            engines=[self._engine_row(link) for link in self._links.values()],
        )

    def _recent_losses(self, now_s: float) -> dict[str, Any]:
        """Engines that died or got out of reach: many at once are a crash loop."""
        recent = [loss for loss in self._core.losses if now_s - loss.at_s <= RECENT_S]
        last = None
        if recent:
            loss = recent[-1]
            ago_s = round(now_s - loss.at_s, 1)
            last = {"engine": loss.engine_id, "cause": loss.cause.value, "ago_s": ago_s}
        return {"last_10_min": len(recent), "last": last}

    def _engine_row(self, link: Link) -> dict[str, Any]:
        engine, ready = self._core.engines.get(ReplicaId(link.engine_id)), link.ready
        load = engine.load if engine else Load(0, 0, 0.0, 0)
        return {
            "id": link.engine_id,
            "state": _shown(link),
            "node": ready.node if ready else None,
            "pid": ready.pid if ready else None,
            "endpoint": link.address.endpoint,
            "running": load.running_requests,
            "waiting": load.waiting_requests,
            "kv_use_frac": load.kv_use_frac,
            "kv_total_tokens": ready.kv_total_tokens if ready else 0,
            "queued_prefill_tokens": load.queued_prefill_tokens,
            "step_cost_s": _step_cost(load),
            "bad_messages_received": load.bad_messages,
            "bad_messages_sent": link.bad_messages,
        }


def _step_cost(load: Load) -> dict[str, float] | None:
    """What the engine's steps take, as it has learnt (`cluster.types.StepCost`)."""
    if load.step_cost is None:
        return None
    return dict(zip(("base", "prefill_token", "decode_request"), load.step_cost, strict=True))


def _move_row(move: Move, now_s: float) -> dict[str, Any]:
    return {
        "ago_s": round(now_s - move.at_s, 1),
        "request": move.request,
        "from": move.before,
        "to": move.after,
        "cause": move.cause.value,
        "tokens": move.tokens,
    }


def _decision_row(made: Explanation) -> dict[str, Any]:
    return {"engine": made.winner, "reason": made.reason.value, "sentence": made.sentence}


def _shown(link: Link) -> str:
    """An engine's state as `GET /fleet` names it; `refused` where the keys do not fit."""
    if not link.state.is_up:
        return "connecting" if link.refusal is None else "refused"
    return "leaving" if link.state.takes_nothing_new else "ready"
