"""What a router may know of one model's replicas: their reports, their caches, what was sent since.

A report is as old as its way here, and a burst is routed in less time than that. So what this
gateway sends counts from the moment it is sent, until a report says that it has been received
(`LoadReport.received`), from when it is in the report's own numbers. What other gateways send is
seen in the reports alone.

The switch keeps one for its model, the simulator one for each simulated gateway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.routing.prefix_index import PrefixIndex
from cluster.types import LoadReport, ReplicaId, ReplicaSnapshot, RouteRequest

UNKNOWN = LoadReport()


@dataclass(slots=True)
class _Attempt:
    """One sending of a request to a replica. `number` counts the replica's attempts from 1;
    `prefill_tokens` are those of its prompt that are not cached."""

    number: int
    prefill_tokens: int
    load_tokens: int
    began: bool = False


@dataclass(slots=True)
class _Replica:
    """A replica: its last report, and this gateway's attempts there that have not ended.

    `unreported`: those of them, oldest first, that the report does not know of yet; `new_*`: sums
    over these.
    """

    id: ReplicaId
    kv_total_tokens: int
    block_tokens: int
    report: LoadReport = UNKNOWN
    sent: int = 0
    attempts: dict[str, _Attempt] = field(default_factory=dict)
    outstanding_tokens: int = 0
    unreported: OrderedDict[str, _Attempt] = field(default_factory=OrderedDict)
    new_waiting: int = 0
    new_decoding: int = 0
    new_prefill_tokens: int = 0
    begun_prefill_tokens: int = 0  # since the report, of attempts that it knew of
    last: ReplicaSnapshot | None = None  # until something changes

    def count(self, attempt: _Attempt, sign: int) -> None:
        """Add an unreported attempt to the sums, or (sign -1) take it out."""
        if attempt.began:
            self.new_decoding += sign
        else:
            self.new_waiting += sign
            self.new_prefill_tokens += sign * attempt.prefill_tokens

    def add(self, attempt_id: str, attempt: _Attempt) -> None:
        self.attempts[attempt_id] = self.unreported[attempt_id] = attempt
        self.outstanding_tokens += attempt.load_tokens
        self.count(attempt, +1)
        self.last = None

    def begin(self, attempt_id: str) -> None:
        attempt = self.attempts[attempt_id]
        if attempt.began:
            return
        if attempt_id not in self.unreported:
            attempt.began = True
            self.begun_prefill_tokens += attempt.prefill_tokens
            return
        self.count(attempt, -1)
        attempt.began = True
        self.count(attempt, +1)
        self.last = None

    def remove(self, attempt_id: str) -> None:
        attempt = self.attempts.pop(attempt_id)
        self.outstanding_tokens -= attempt.load_tokens
        if self.unreported.pop(attempt_id, None) is not None:
            self.count(attempt, -1)
        self.last = None

    def reported(self, report: LoadReport) -> None:
        while self.unreported:
            attempt_id, attempt = next(iter(self.unreported.items()))
            if attempt.number > report.received:
                break
            del self.unreported[attempt_id]
            self.count(attempt, -1)
        self.report, self.last, self.begun_prefill_tokens = report, None, 0

    def snapshot(self, cached_tokens: int) -> ReplicaSnapshot:
        """The report, and on top of it: what has not begun waits and will fill so much more of the
        cache, what has begun is decoded."""
        report, kv_use_frac = self.report, self.report.kv_use_frac
        if self.kv_total_tokens and self.new_prefill_tokens:
            kv_use_frac = min(1.0, kv_use_frac + self.new_prefill_tokens / self.kv_total_tokens)
        return ReplicaSnapshot(
            id=self.id,
            outstanding_tokens=self.outstanding_tokens,
            inflight_requests=len(self.attempts),
            running_requests=report.running_requests + self.new_decoding,
            waiting_requests=report.waiting_requests + self.new_waiting,
            decode_requests=report.decode_requests + self.new_decoding,
            queued_prefill_tokens=report.queued_prefill_tokens + self.new_prefill_tokens,
            kv_use_frac=kv_use_frac,
            kv_total_tokens=self.kv_total_tokens,
            cached_tokens=cached_tokens,
            step_cost=report.step_cost,
        )

    def cached_tokens(self, held_blocks: int, prompt_tokens: int) -> int:
        """What vLLM will find: whole blocks, and never the prompt's last token, which it computes
        for its logits (`KVCacheManager.get_computed_blocks`)."""
        tokens = held_blocks * self.block_tokens
        if tokens < prompt_tokens:
            return tokens
        return max(prompt_tokens - 1, 0) // self.block_tokens * self.block_tokens


class FleetView:
    """One model's replicas as one gateway sees them.

    Attempts are named by ids unique in the view. `index` is fed by the replicas' own cache events,
    through `cluster.routing.kv_stream`.
    """

    def __init__(self) -> None:
        self.index = PrefixIndex()
        self._replicas: dict[ReplicaId, _Replica] = {}
        self._at: dict[str, _Replica] = {}  # by attempt id

    # Replicas

    def joined(self, replica: ReplicaId, *, kv_total_tokens: int, block_tokens: int) -> None:
        """A replica is connected, with nothing sent to it. `kv_total_tokens` is 0 where unknown.

        One that was there is taken to have left. Raises ValueError unless `block_tokens` > 0.
        """
        if block_tokens <= 0:
            raise ValueError(f"block_tokens of replica {replica!r} is {block_tokens}, not above 0")
        self.left(replica)
        self._replicas[replica] = _Replica(replica, kv_total_tokens, block_tokens)

    def left(self, replica: ReplicaId) -> None:
        """A replica is gone, with all attempts there. Unknown ones are ignored."""
        gone = self._replicas.pop(replica, None)
        if gone is None:
            return
        for attempt_id in gone.attempts:
            del self._at[attempt_id]
        self.index.drop(replica)

    def reported(self, replica: ReplicaId, report: LoadReport) -> None:
        """A replica's load report; late ones of replicas that left are ignored."""
        known = self._replicas.get(replica)
        if known is not None:
            known.reported(report)

    # Attempts

    def sent(
        self, replica: ReplicaId, attempt_id: str, request: RouteRequest, cached_tokens: int
    ) -> None:
        """A request is sent to a replica, which is expected to find `cached_tokens` of its prompt.

        Raises ValueError for an attempt id in use, LookupError for an unknown replica.
        """
        at = self._known(replica)
        if attempt_id in self._at:
            raise ValueError(f"attempt {attempt_id!r} is already at {self._at[attempt_id].id!r}")
        at.sent += 1
        attempt = _Attempt(
            number=at.sent,
            prefill_tokens=max(request.prompt_tokens - cached_tokens, 0),
            load_tokens=request.prompt_tokens + request.max_output_tokens,
        )
        at.add(attempt_id, attempt)
        self._at[attempt_id] = at
        self.index.expect(attempt_id, replica, request.blocks)

    def began(self, attempt_id: str) -> None:
        """Its first token is there. Attempts that began or ended before are ignored."""
        at = self._at.get(attempt_id)
        if at is not None:
            at.begin(attempt_id)
            self.index.settle(attempt_id)

    def ended(self, attempt_id: str) -> None:
        """It is finished, aborted or moved. Attempts that ended before are ignored."""
        at = self._at.pop(attempt_id, None)
        if at is not None:
            at.remove(attempt_id)
            self.index.settle(attempt_id)

    def snapshots(
        self, request: RouteRequest, eligible: Iterable[ReplicaId]
    ) -> list[ReplicaSnapshot]:
        """What the router may know of each eligible replica, in their order, for this request.

        Raises LookupError for a replica that has not joined.
        """
        held_blocks = self.index.lookup(request.blocks)
        replicas, prompt_tokens = self._replicas, request.prompt_tokens
        snapshots = []
        for replica_id in eligible:
            replica = replicas.get(replica_id) or self._known(replica_id)  # which raises
            cached, last = held_blocks.get(replica_id, 0), replica.last
            if cached:
                cached = replica.cached_tokens(cached, prompt_tokens)
            if last is None or last.cached_tokens != cached:
                last = replica.last = replica.snapshot(cached)
            snapshots.append(last)
        return snapshots

    def now(self, replica: ReplicaId) -> tuple[ReplicaSnapshot, LoadReport, int]:
        """A replica as it is for no request in particular, its last report, and the prompt tokens
        not cached of those attempts that this knew of and that have begun since.

        Raises LookupError for one that has not joined.
        """
        known = self._known(replica)
        if known.last is None:
            known.last = known.snapshot(0)
        return known.last, known.report, known.begun_prefill_tokens

    def _known(self, replica: ReplicaId) -> _Replica:
        known = self._replicas.get(replica)
        if known is None:
            raise LookupError(
                f"replica {replica!r} is not among the {len(self._replicas)} that have joined"
            )
        return known
