"""Admission at one gateway: which requests it takes in, when they go to the engines, what becomes
of those that cannot wait.

The life of a request, as its gateway tells it here (ids are unique in the gateway; times are of one
monotonic clock; all calls come from one thread):

    offer ─▶ Refused                  answer it; nothing more is to be said of it
          ─▶ Admitted                 send it to an engine now
          ─▶ Queued ─▶ release: send, or refused (it waited too long)
                    ─▶ cancelled      its client is gone
    sent                              it is in the engines' snapshots from now on
    ended | cancelled                 once, whatever became of it, however often it moved

`resized` may come at any time between: a gateway that offers a request before it is tokenized
estimates its prompt. `to_pause` and `paused` move batch requests back into the queue.

`release` is to be called when an engine reports, comes or goes, when a request begins or ends, and
at `next_deadline_s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.admission import refusal
from cluster.admission.boundary import (
    NOTHING,
    Admitted,
    Offer,
    Queued,
    QueueState,
    Released,
    Served,
)
from cluster.admission.engine_room import AHEAD_S, ALONE_AHEAD_S, EngineState
from cluster.admission.model_queue import Entry, ModelLimits, ModelQueue
from cluster.admission.pausing import RunningBatch
from cluster.admission.reconciler import Claim, ShareAnswer, ShareReport
from cluster.admission.refusal import Refused
from cluster.admission.request_size import size_of, size_of_rest
from cluster.admission.tenant_limits import TenantLimits
from cluster.admission.tenants import Priority, Tenant
from cluster.admission_spec import AdmissionSpec


@dataclass(slots=True, kw_only=True)
class _Open:
    """A request that was admitted or queued. `reserved_tokens`: of the tenant's tokens_per_min."""

    offer: Offer
    at_s: float
    reserved_tokens: int


class Admission:
    """See the module's docstring.

    `tenants`: all that there are, `OPEN` alone where none is configured. `initial_share` (0 to 1)
    of every limit is this gateway's until the reconciler has answered: 1 / (the most gateways that
    there may be).
    """

    def __init__(
        self,
        *,
        gateway: str,
        tenants: Sequence[Tenant],
        models: Mapping[str, ModelLimits],
        spec: AdmissionSpec,
        initial_share: float,
        now_s: float,
    ) -> None:
        self._gateway = gateway
        self._initial_share = initial_share
        self._limits: dict[str, TenantLimits] = {}
        self._models = {name: ModelQueue(each, spec, now_s) for name, each in models.items()}
        self._open: dict[str, _Open] = {}
        self._reports = 0
        self.have_tenants(tenants, now_s)

    # Requests

    def offer(self, offer: Offer, now_s: float) -> Admitted | Queued | Refused:
        """A request has come. Raises ValueError for an id in use, LookupError for an unknown model
        or tenant."""
        if offer.request_id in self._open:
            raise ValueError(f"request {offer.request_id!r} is open already")
        queue, limits = self._models[offer.model], self._limits[offer.tenant.name]
        tenant, size = offer.tenant, size_of(offer, queue.estimate)
        if not tenant.may_use(offer.model):
            return refusal.no_model(tenant, offer.model)
        over = limits.over(size.reserved_tokens, now_s)
        if over is not None:
            return refusal.over_limit(tenant, size.reserved_tokens, over)
        prediction = queue.prediction(tenant, now_s)
        if prediction.is_too_long:
            return refusal.would_wait(offer.model, prediction)
        if not queue.has_place(tenant):
            return refusal.queue_full(offer.model, queue.queue.waiting_of(tenant), prediction)
        limits.reserve(size.reserved_tokens, now_s)
        self._open[offer.request_id] = _Open(
            offer=offer, at_s=now_s, reserved_tokens=size.reserved_tokens
        )
        entry = Entry(request_id=offer.request_id, tenant=tenant, offered_at_s=now_s, size=size)
        if queue.add(entry):
            return Admitted()
        return Queued(predicted_wait_s=prediction.wait_s)

    def release(self, model: str, engines: Sequence[EngineState], now_s: float) -> Released:
        """What goes now to the model's engines, which are as given: those that may take a new
        request."""
        queue = self._models[model]
        refused = [
            (request_id, self._expire(request_id, queue, now_s))
            for request_id in queue.expired(len(engines), now_s)
        ]
        return Released(send=queue.release(engines, now_s), refused=refused)

    def sent(self, request_id: str) -> None:
        """An admitted request is at an engine, and in its next snapshot. Unknown ones are ignored:
        they may have ended before."""
        if request_id in self._open:
            self._queue_of(request_id).sent(request_id)

    def resized(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        max_output_tokens: int | None,
        cached_tokens: int = 0,
        now_s: float,
    ) -> None:
        """A request's true size is known, before its first tokens. Unknown ones are ignored."""
        known = self._open.get(request_id)
        if known is None:
            return
        queue = self._queue_of(request_id)
        known.offer = offer = replace(
            known.offer,
            prompt_tokens=prompt_tokens,
            max_output_tokens=max_output_tokens,
            cached_tokens=cached_tokens,
        )
        size = size_of(offer, queue.estimate)
        limits = self._limits[offer.tenant.name]
        limits.resized(known.reserved_tokens, size.reserved_tokens, now_s)
        known.reserved_tokens = size.reserved_tokens
        queue.resize(request_id, size)

    def ended(self, request_id: str, served: Served, now_s: float) -> None:
        """An admitted request is answered, to its end. Raises LookupError for one that is not
        open."""
        known = self._end(request_id, served, now_s)
        self._models[known.offer.model].estimate.saw(known.offer.tenant.name, served.output_tokens)

    def cancelled(self, request_id: str, now_s: float, served: Served = NOTHING) -> None:
        """It is over in another way: its client is gone, whether it waited or ran, or it failed.
        Raises LookupError for one that is not open."""
        self._end(request_id, served, now_s)

    def paused(self, request_id: str, served: Served) -> None:
        """A batch request is off its engine, with its tokens kept, and waits for its next turn. It
        has no deadline any more. Raises LookupError for one that is not open."""
        known = self._open[request_id]
        queue = self._queue_of(request_id)
        queue.pause(request_id, served.cost, size_of_rest(known.offer, served, queue.estimate))

    def to_pause(self, model: str, running: Iterable[RunningBatch], now_s: float) -> list[str]:
        """Which of the running batch requests to move out, so that the next interactive request
        has room: to be asked after each `release`."""
        return self._models[model].to_pause(running, now_s)

    def _end(self, request_id: str, served: Served, now_s: float) -> _Open:
        queue = self._queue_of(request_id)
        known = self._open.pop(request_id)
        answered_s = now_s - known.at_s if served.output_tokens else None
        self._limits[known.offer.tenant.name].settle(
            known.reserved_tokens, served.tokens, now_s, answered_s
        )
        queue.end(request_id, served.cost)
        return known

    def _expire(self, request_id: str, queue: ModelQueue, now_s: float) -> Refused:
        known = self._end(request_id, NOTHING, now_s)
        self._limits[known.offer.tenant.name].uncount_request(now_s)
        prediction = queue.prediction(known.offer.tenant, now_s)
        return refusal.waited(known.offer.model, now_s - known.at_s, prediction)

    def _queue_of(self, request_id: str) -> ModelQueue:
        return self._models[self._open[request_id].offer.model]

    # Tenants, shares and state

    def have_tenants(self, tenants: Sequence[Tenant], now_s: float) -> None:
        """From now on these are the tenants. The limits of one that is gone are forgotten with its
        last request."""
        busy = {known.offer.tenant.name for known in self._open.values()}
        names = {tenant.name for tenant in tenants} | busy
        self._limits = {name: kept for name, kept in self._limits.items() if name in names}
        for tenant in tenants:
            if tenant.name in self._limits:
                self._limits[tenant.name].change(tenant, now_s)
            else:
                self._limits[tenant.name] = TenantLimits(
                    tenant, share=self._initial_share, now_s=now_s
                )
        for queue in self._models.values():
            queue.estimate.keep_only(names)
            queue.ahead_s = AHEAD_S if len(names) > 1 else ALONE_AHEAD_S

    def share_report(self, now_s: float) -> ShareReport:
        """What to tell the reconciler, every `share_report_s`."""
        self._reports += 1
        claims: dict[str, Claim] = {}
        for name, limits in self._limits.items():
            claims[f"rate/{name}"] = Claim(
                demand=limits.rate_demand_frac(now_s),
                held=limits.rate_share,
                spilled=limits.take_spilled(),
            )
            if limits.tenant.max_concurrent is not None:
                claims[f"concurrent/{name}"] = Claim(
                    demand=limits.concurrent_demand(now_s),
                    held=limits.concurrent_share_held,
                    units=limits.tenant.max_concurrent,
                )
        return ShareReport(gateway=self._gateway, number=self._reports, claims=claims)

    def have_shares(self, answer: ShareAnswer, now_s: float) -> None:
        """The reconciler's answer to the last report; to an earlier one it is ignored."""
        if answer.number != self._reports:
            return
        for name, limits in self._limits.items():
            limits.have_shares(
                rate=answer.shares.get(f"rate/{name}", limits.rate_share),
                carried=answer.carried.get(f"rate/{name}", 0.0),
                concurrent=answer.shares.get(f"concurrent/{name}", limits.concurrent_share),
                now_s=now_s,
            )

    def share_room(self, share: float) -> None:
        """This gateway may fill so much (0 to 1) of the engines' free room: 1 / the gateways."""
        for queue in self._models.values():
            queue.share = share

    @property
    def next_deadline_s(self) -> float | None:
        """When `release` has something to refuse, at the latest; None where nothing waits."""
        deadlines = [queue.next_deadline_s for queue in self._models.values()]
        return min((at_s for at_s in deadlines if at_s is not None), default=None)

    def state(self, model: str, now_s: float) -> QueueState:
        queue = self._models[model]
        classes: tuple[Priority, ...] = ("interactive", "batch")
        return QueueState(
            waiting_requests={name: queue.queue.waiting(name) for name in classes},
            waiting_tokens=sum(queue.queue.waiting_cost(name) for name in classes),
            drain_tokens_per_s=queue.drain_tokens_per_s(now_s),
        )
