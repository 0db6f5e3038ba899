"""The admission desk: joins the decisions of `cluster.admission` to a gateway's requests, to its
models' switches and to the clock. One for each gateway, on its event loop.

    Shell ── ticket ─▶ model's app ─▶ FleetLLM ── offer ─▶ desk ── go ─▶ switch ─▶ engine
                                                            ▲                │
                                                            └─────  news  ───┘

While nothing waits, a switch tells only of what is over, and of engines that come and go. What
waits has it tell of every change by which there may be more room, and leaves when there is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.types import Scope

from cluster.admission.admission import Admission
from cluster.admission.boundary import Admitted, Offer, Served
from cluster.admission.engine_room import EngineState
from cluster.admission.model_queue import ModelLimits
from cluster.admission.pausing import RunningBatch
from cluster.admission.reconciler import ShareAnswer, ShareReport
from cluster.admission.refusal import RefusalReason, Refused
from cluster.admission.tenants import Tenant
from cluster.admission.usage import Usage
from cluster.scaling.limits import Slo
from cluster.scaling.request_counts import RequestCounts
from cluster.spec import ClusterSpec, ModelSpec
from serve_app.errors import GatewayError, KeyNeededError
from serve_app.flight_news import Expected, FlightNews, FlightOver, RunningFlight
from serve_app.served_request import Outcome, ServedRequest
from serve_app.ticket import Ticket
from serve_app.tracing import Tracing

_FULL = frozenset({RefusalReason.WOULD_WAIT, RefusalReason.WAITED, RefusalReason.QUEUE_FULL})
"""What more engines would have served."""


class RefusedError(GatewayError):
    """Admission has refused the request."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.sentence)
        self.status, self.error_type = refused.status, refused.error_type
        self.code, self.retry_after_s = refused.code, refused.retry_after_s
        self.reason = refused.reason.value


class Line(Protocol):
    """A model's switch."""

    def watch(self, wanted: bool) -> None: ...

    def expect(self, name: str, expected: Expected) -> None: ...

    def forget(self, name: str) -> None: ...

    def pause(self, names: Sequence[str]) -> None: ...

    def go_on(self, names: Sequence[str]) -> None: ...


class AdmissionDesk:
    """`on_served` is told of each request once, when it is over or refused. Made on the
    gateway's event loop, whose its methods are, but for `news`.
    """

    def __init__(
        self,
        spec: ClusterSpec,
        *,
        gateway: str,
        tenants: Sequence[Tenant],
        on_served: Callable[[ServedRequest], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_served, self._tracing = on_served, tracing or Tracing()
        self._admission = Admission(
            gateway=gateway,
            tenants=tenants,
            models={model.name: _limits(model, spec) for model in spec.models},
            spec=spec.gateway.admission,
            initial_share=1 / spec.gateway.most_replicas,
            now_s=time.monotonic(),
        )
        self._lines: dict[str, Line] = {}
        self._counts = {model.name: RequestCounts(Slo()) for model in spec.models}
        self._waiting: dict[str, set[Ticket]] = {model.name: set() for model in spec.models}
        self._refused: dict[str, dict[str, int]] = {model.name: {} for model in spec.models}
        self._engines: dict[str, Sequence[EngineState]] = {model.name: () for model in spec.models}
        self._tickets: dict[str, Ticket] = {}  # by entry
        self._named: dict[str, Ticket] = {}  # by the API server's names
        self._entries = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def have_line(self, model: str, line: Line) -> None:
        """A model's switch is there."""
        self._lines[model] = line

    def ticket(self, model: str, tenant: Tenant) -> Ticket:
        """For a request to that model's API."""
        return Ticket(self, model, tenant)

    # What a ticket asks

    def began(self, ticket: Ticket, scope: Scope) -> None:
        """Its app is about to get the request."""
        ticket.span = self._tracing.begin(scope, ticket.model, ticket.tenant.name)

    def registered(self, ticket: Ticket, name: str) -> str:
        """The name under which the switch is to know it."""
        unique, count = name, 1
        while unique in self._named:
            count += 1
            unique = f"{name}-{count}"
        self._named[unique] = ticket
        ticket.names.add(unique)
        ticket.name = ticket.name or unique
        return unique

    def left(self, ticket: Ticket, name: str) -> None:
        """No more of that name goes to the switch, though its flights may still end there."""
        self._lines[ticket.model].forget(name)
        if ticket.flights <= 0:
            self._named.pop(name, None)

    def expect(self, ticket: Ticket, name: str, answers: int) -> None:
        """It goes to the switch. What has one answer only may be paused, if it is batch."""
        alone = answers == 1 and len(ticket.names) == 1
        pausable = alone and ticket.tenant.priority == "batch"
        self._lines[ticket.model].expect(name, Expected(ticket.offered_at_s, pausable))

    def offer(self, ticket: Ticket, prompt_tokens: int, most_tokens: int | None) -> None:
        """A request is here, or one more prompt of one that was. Where it waits, or is refused,
        the ticket says so afterwards."""
        now_s = time.monotonic()
        before_tokens, before_most = ticket.size
        most = None if most_tokens is None or before_most is None else before_most + most_tokens
        ticket.size = (before_tokens + prompt_tokens, most)
        if ticket.entry is not None:
            self._admission.resized(
                ticket.entry,
                prompt_tokens=ticket.size[0],
                max_output_tokens=most,
                now_s=now_s,
            )
            return
        self._entries += 1
        entry = str(self._entries)
        offer = Offer(
            request_id=entry,
            tenant=ticket.tenant,
            model=ticket.model,
            prompt_tokens=prompt_tokens,
            max_output_tokens=most_tokens,
        )
        try:
            answer = self._admission.offer(offer, now_s)
        except LookupError:  # since it showed its key
            ticket.refusal = KeyNeededError()
            return
        if isinstance(answer, Refused):
            self._refuse(ticket, answer)
            return
        ticket.entry, ticket.offered_at_s = entry, now_s
        self._tickets[entry] = ticket
        self._counts[ticket.model].arrived(prompt_tokens)
        if isinstance(answer, Admitted):
            ticket.sent_at_s = now_s
        else:
            self._wait(ticket)

    def _wait(self, ticket: Ticket) -> None:
        ticket.turn = self._loop.create_future()
        self._join(ticket)
        self._set_deadline()

    def _join(self, ticket: Ticket) -> None:
        if ticket.on_wait is not None:
            ticket.on_wait()
        waiting = self._waiting[ticket.model]
        waiting.add(ticket)
        if len(waiting) == 1:
            self._lines[ticket.model].watch(True)

    def look_at(self, ticket: Ticket) -> None:
        """It may be over."""
        if not ticket.is_over:
            return
        if ticket.entry is None:
            self._tracing.leave(ticket.span)
            return
        now_s, usage = time.monotonic(), ticket.usage
        served = _served(usage)
        outcome: Outcome = "failed" if ticket.failed else "cancelled"
        if ticket.is_whole and ticket.sent_at_s:
            outcome = "served"
            self._admission.ended(ticket.entry, served, now_s)
        else:
            self._admission.cancelled(ticket.entry, now_s, served)
        self._close(ticket)
        self._tell(ticket, outcome, usage + Usage(requests=1), now_s)

    def _tell(self, ticket: Ticket, outcome: Outcome, usage: Usage, now_s: float) -> None:
        refused = ticket.refusal.reason if isinstance(ticket.refusal, RefusedError) else ""
        served = ServedRequest(
            request_id=ticket.name,
            tenant=ticket.tenant.name,
            model=ticket.model,
            outcome=outcome,
            usage=usage,
            waited_s=ticket.waited_s,
            at_unix_s=time.time(),
            took_s=now_s - ticket.offered_at_s,
            ttft_s=ticket.ttft_s,
            tpot_s=ticket.tpot_s,
            engines=tuple(attempt.engine_id for attempt in ticket.attempts),
            reason=refused,
        )
        self._on_served(served)
        self._tracing.end(ticket.span, served, ticket.attempts, now_s)

    def _close(self, ticket: Ticket) -> None:
        assert ticket.entry is not None
        del self._tickets[ticket.entry]
        for name in ticket.names:
            self._named.pop(name, None)
        self._go(ticket)
        ticket.entry = None

    # What the switches tell

    def news(self, model: str, news: FlightNews) -> None:
        """From a switch's thread."""
        self._loop.call_soon_threadsafe(self._have_news, model, news)

    def _have_news(self, model: str, news: FlightNews) -> None:
        for name in news.arrived:
            ticket = self._named.get(name)
            if ticket is not None and ticket.entry is not None:
                self._admission.sent(ticket.entry)
        if news.engines is not None:
            self._engines[model] = news.engines
        for name, usage in news.paused:
            self._have_paused(self._named.get(name), usage)
        for over in news.over:
            ticket = self._named.get(over.name)
            if ticket is not None:
                self._have_ended(ticket, over)
        if news.engines is not None:
            self._release(model)
            self._make_room(model, news.batch)

    def _make_room(self, model: str, batch: Sequence[RunningFlight]) -> None:
        """Batch requests are paused, where an interactive one cannot go for them."""
        running = [
            RunningBatch(
                request_id=ticket.entry,
                replica_id=each.engine_id,
                held_tokens=each.held_tokens,
                left_tokens=each.left_tokens,
                pauses=ticket.pauses,
            )
            for each in batch
            if (ticket := self._named.get(each.name)) is not None and ticket.entry is not None
        ]
        if running:
            chosen = self._admission.to_pause(model, running, time.monotonic())
            if chosen:
                self._lines[model].pause([self._tickets[entry].name for entry in chosen])

    def _have_paused(self, ticket: Ticket | None, usage: Usage) -> None:
        if ticket is None or ticket.entry is None:
            return
        self._admission.paused(ticket.entry, _served(usage))
        ticket.pauses += 1
        ticket.is_paused = True
        self._join(ticket)

    def _have_ended(self, ticket: Ticket, over: FlightOver) -> None:
        usage = over.usage
        if over.name in ticket.known:  # another answer to the same prompt, which counts once
            usage = Usage(
                output_tokens=usage.output_tokens, engine_s=usage.engine_s, attempts=usage.attempts
            )
        ticket.known.add(over.name)
        ticket.usage += usage
        ticket.answers += 1
        ticket.decode_s = over.decode_s
        ticket.attempts += over.attempts
        if over.ttft_s is not None:
            ticket.ttft_s = min(over.ttft_s, ticket.ttft_s or over.ttft_s)
        ticket.failed |= over.failed
        ticket.flights -= 1
        self.look_at(ticket)

    def _release(self, model: str) -> None:
        now_s = time.monotonic()
        released = self._admission.release(model, self._engines[model], now_s)
        for entry in released.send:
            ticket = self._tickets[entry]
            if ticket.is_paused:
                ticket.is_paused = False
                self._lines[model].go_on([ticket.name])
            else:
                ticket.sent_at_s = now_s
            self._go(ticket)
        for entry, refused in released.refused:
            ticket = self._tickets.pop(entry)
            ticket.entry = None
            self._refuse(ticket, refused)
            self._go(ticket)
        self._set_deadline()

    def _go(self, ticket: Ticket) -> None:
        """It waits no more."""
        waiting = self._waiting[ticket.model]
        if ticket in waiting:
            waiting.remove(ticket)
            if not waiting:
                self._lines[ticket.model].watch(False)
        if ticket.turn is not None:
            if not ticket.turn.done():
                ticket.turn.set_result(None)
            ticket.turn = None

    def _refuse(self, ticket: Ticket, refused: Refused) -> None:
        ticket.refusal = RefusedError(refused)
        now_s = time.monotonic()
        if ticket.offered_at_s:
            ticket.sent_at_s = now_s  # it waits no more
        else:
            ticket.offered_at_s = now_s
        self._tell(ticket, "refused", Usage(), now_s)
        by_reason = self._refused[ticket.model]
        by_reason[refused.reason] = by_reason.get(refused.reason, 0) + 1
        if refused.reason in _FULL:
            self._counts[ticket.model].failed()

    # Time

    def _set_deadline(self) -> None:
        due_s = self._admission.next_deadline_s
        if self._deadline is not None:
            if due_s == self._due_s:
                return
            self._deadline.cancel()
            self._deadline = None
        if due_s is not None:
            wait_s = max(0.0, due_s - time.monotonic())
            self._deadline, self._due_s = self._loop.call_later(wait_s, self._on_deadline), due_s

    def _on_deadline(self) -> None:
        self._deadline = None
        for model, waiting in self._waiting.items():
            if waiting:
                self._release(model)
        self._set_deadline()

    # Tenants and shares (`serve_app.tenancy.Desk`)

    def have_tenants(self, tenants: Sequence[Tenant]) -> None:
        self._admission.have_tenants(tenants, time.monotonic())

    def share_report(self) -> ShareReport:
        return self._admission.share_report(time.monotonic())

    def have_shares(self, answer: ShareAnswer) -> None:
        self._admission.have_shares(answer, time.monotonic())

    def share_room(self, share: float) -> None:
        self._admission.share_room(share)

    # What is shown

    def counts(self, model: str) -> tuple[int, RequestCounts]:
        """How many wait, and what was counted here, for the scaler."""
        return len(self._waiting[model]), self._counts[model]

    def row(self, model: str) -> Mapping[str, Any]:
        """The model's queue as `GET /fleet` shows it."""
        state = self._admission.state(model, time.monotonic())
        return {
            "waiting": dict(state.waiting_requests),
            "waiting_tokens": round(state.waiting_tokens),
            "drain_tokens_per_s": state.drain_tokens_per_s,
            "refused": dict(self._refused[model]),
        }


def _served(usage: Usage) -> Served:
    return Served(
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens,
    )


def _limits(model: ModelSpec, spec: ClusterSpec) -> ModelLimits:
    """Where nobody has asked for an SLO, its default keeps no engine from being filled: there are
    models that cannot meet it at all."""
    asked = "slo" in model.model_fields_set and "tpot_s" in model.slo.model_fields_set
    return ModelLimits(
        max_wait_s=model.max_wait_s,
        hold_timeout_s=spec.failover.hold_timeout_s,
        itl_s=model.slo.tpot_s if asked else None,
    )
