"""Late binding: how much more an engine can be given now, so that it stays busy and no more.

What an engine has not begun is better kept in the fair queue, where who comes next is still open;
but it must not run dry before it can be given more. With s the time of a step at its present load
(`base_s + decode_request_s * D`), and what a queued prompt token takes there (see
`cluster.routing.added_latency`),

    token_s  = prefill_token_s + s / (max_num_batched_tokens - D)
    done     = the larger of: report_age_s / token_s; the prompts known to have begun since
    queued   = max(0, reported - done) + what was sent since the report and has not begun
    prefill  = (AHEAD_S + s) / token_s - queued                      room, in prompt tokens

so there is work for the step under way and for the time that a reply takes. The last request may
overshoot it, whatever its size, or a long prompt would never fit.

    requests = most * (1 + EXTRA_FRAC) - running - waiting           room, in requests
    most     = the least of: vLLM's max_num_seqs; decodes at which a step takes `itl_s`

    kv       = (1 - kv_use_frac) * kv_total_tokens - queued_prefill_tokens - GROWTH_FRAC * D * T

each running request has on average half of a typical output, T tokens, to come; while that comes
others end, so half of it is kept free. A request needs its prompt and half its output. Too much
and vLLM preempts, which computes twice; too little and the batch is smaller than it could be.

An engine with nothing at all to do takes one request of whatever size. With several gateways each
fills its share of what is free (of the room, not of the engine: so all of it is filled within a few
reports, and what they overshoot together is less than each one's room).

Unknown step cost: `BLIND_PREFILL_TOKENS` may be queued, and `BLIND_REQUESTS` run.

`batch` requests leave a part of each room free (`SPARE_FRAC`), for interactive ones that come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf

from cluster.admission.tenants import Priority
from cluster.routing.added_latency import CHUNK_TOKENS, LEAST_TOKEN_S
from cluster.types import ReplicaId, ReplicaSnapshot, StepCost

AHEAD_S = 0.02
"""A step's outputs take a few ms to the gateway, and the next request to the engine. Where it is
later, a step prefills less than it could, and nothing stands still. In simulation (2,048 tokens a
step, 256 decoding) throughput was 1.2 % below that with 0.1, and the TTFT of a tenant beside a
flood half."""

ALONE_AHEAD_S = 0.5
"""Where there is one tenant only: who comes next is not open then, and an engine that has more to
choose from fills its steps better. (Beside a bare vLLM with 32 streams on two cores: 0.88 of its
throughput with the above.) What exceeds it waits here all the same, and may be refused."""

EXTRA_FRAC = 1 / 16
"""Requests above a full batch, waiting: those that replace what ends in the next steps."""

GROWTH_FRAC = 0.25

BLIND_PREFILL_TOKENS = 8192
"""Four steps of vLLM's smallest budget, one of its largest default one."""

BLIND_REQUESTS = 256
"""vLLM's default max_num_seqs on all but the largest GPUs."""

SPARE_FRAC = 0.1
"""Of KV and of running requests; of the prefill it is half, which is full again in no time."""
SPARE_PREFILL_FRAC = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """An engine as the gateway sees it.

    `report_age_s`: since its last load report came, which said that `reported_prefill_tokens` were
    queued. `begun_prefill_tokens`: of this gateway's requests that the report knew of, the prompts
    of those whose first token has come since (a report counts the whole of a step under way).
    `max_num_seqs`, `max_num_batched_tokens`: vLLM's; None where unknown.
    """

    snapshot: ReplicaSnapshot
    report_age_s: float = 0.0
    reported_prefill_tokens: int = 0
    begun_prefill_tokens: int = 0
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a request takes of an engine. `kv_tokens`: its prompt, and half its output."""

    prefill_tokens: int
    kv_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """What has to be freed on an engine before a request fits."""

    requests: int
    kv_tokens: float


@dataclass(slots=True, kw_only=True)
class EngineRoom:
    """What one engine can still be given by this gateway; `spare_*` of it to interactive requests
    only."""

    replica_id: ReplicaId
    idle: bool
    prefill_tokens: float
    requests: float
    kv_tokens: float
    spare_prefill_tokens: float = 0.0
    spare_requests: float = 0.0
    spare_kv_tokens: float = 0.0

    def fits(self, need: Need, priority: Priority) -> bool:
        if self.idle:
            return True
        spare = 1.0 if priority == "batch" else 0.0
        return (
            self.prefill_tokens > spare * self.spare_prefill_tokens
            and self.requests >= 1.0 + spare * self.spare_requests
            and self.kv_tokens >= need.kv_tokens + spare * self.spare_kv_tokens
        )

    def take(self, need: Need) -> None:
        self.idle = False
        self.prefill_tokens -= need.prefill_tokens
        self.requests -= 1.0
        self.kv_tokens -= need.kv_tokens


def engine_room(
    engine: EngineState,
    *,
    typical_output_tokens: float,
    itl_s: float | None,
    share: float = 1.0,
    ahead_s: float = AHEAD_S,
) -> EngineRoom:
    """See the module's docstring. `itl_s`: the longest step there should be; None: any."""
    seen = engine.snapshot
    present = seen.running_requests + seen.waiting_requests
    most = _most_requests(engine, itl_s)
    prefill, target = _prefill_room(engine, ahead_s)
    kv = inf
    if seen.kv_total_tokens > 0:
        growing = GROWTH_FRAC * seen.decode_requests * typical_output_tokens
        free = (1.0 - seen.kv_use_frac) * seen.kv_total_tokens
        kv = free - seen.queued_prefill_tokens - growing
    requests = most * (1.0 + EXTRA_FRAC) - present
    ours = _shared(prefill, share), _shared(requests, share, least=1.0), _shared(kv, share)
    return EngineRoom(
        replica_id=seen.id,
        idle=max(seen.inflight_requests, present) == 0,
        prefill_tokens=ours[0],
        requests=ours[1],
        kv_tokens=ours[2],
        spare_prefill_tokens=_spare(SPARE_PREFILL_FRAC * target, prefill, ours[0]),
        spare_requests=_spare((SPARE_FRAC + EXTRA_FRAC) * most, requests, ours[1]),
        spare_kv_tokens=_spare(SPARE_FRAC * seen.kv_total_tokens, kv, ours[2]),
    )


def _spare(spare: float, room: float, ours: float) -> float:
    """What has to stay free of our part, so that so much does of the whole room."""
    return spare if room == inf else max(0.0, spare - (room - ours))


def _prefill_room(engine: EngineState, ahead_s: float) -> tuple[float, float]:
    """In prompt tokens: the room, and what it would be with nothing queued."""
    seen, cost = engine.snapshot, engine.snapshot.step_cost
    if cost is None:
        return BLIND_PREFILL_TOKENS - seen.queued_prefill_tokens, BLIND_PREFILL_TOKENS
    step_s = _step_s(cost, seen.decode_requests)
    chunk_tokens = max(1, (engine.max_num_batched_tokens or CHUNK_TOKENS) - seen.decode_requests)
    token_s = max(LEAST_TOKEN_S, cost.prefill_token_s + step_s / chunk_tokens)
    target = (ahead_s + step_s) / token_s
    done = max(engine.report_age_s / token_s, engine.begun_prefill_tokens)
    done = min(done, engine.reported_prefill_tokens)
    return target - max(0.0, seen.queued_prefill_tokens - done), target


def _most_requests(engine: EngineState, itl_s: float | None) -> float:
    """That may run at a time."""
    cost = engine.snapshot.step_cost
    bounds: list[float] = []
    if engine.max_num_seqs is not None:
        bounds.append(engine.max_num_seqs)
    if itl_s is not None and cost is not None and cost.decode_request_s > 0.0:
        bounds.append(max(1.0, (itl_s - cost.base_s) / cost.decode_request_s))
    return min(bounds, default=float(BLIND_REQUESTS))


def _step_s(cost: StepCost, decode_requests: int) -> float:
    return cost.base_s + cost.decode_request_s * decode_requests


def _shared(room: float, share: float, least: float = 0.0) -> float:
    """One gateway's part; where that is nothing whole, still `least` of it."""
    return room if room <= least else max(least, room * share)


class Rooms:
    """The engines' rooms as requests are given out, each to where the most prefill is lacking: the
    router may do otherwise, and the next snapshots then say so."""

    def __init__(self, rooms: Iterable[EngineRoom] = ()) -> None:
        self._rooms = list(rooms)

    def take(self, need: Need, priority: Priority) -> bool:
        """Whether there is room for it; if so it is taken."""
        room = self._best(need, priority)
        if room is None:
            return False
        room.take(need)
        return True

    def count(self, need: Need) -> None:
        """A request that has been given out and is not in the snapshots yet takes its room."""
        if self._rooms:
            max(self._rooms, key=lambda room: room.prefill_tokens).take(need)

    def lacking(self, need: Need) -> dict[ReplicaId, Lacking]:
        """What an interactive request lacks on each engine but a place in its prefill queue, which
        comes by itself; nothing where one of them lacks nothing else."""
        lacks = {
            room.replica_id: Lacking(
                requests=max(0, ceil(1.0 - room.requests)),
                kv_tokens=max(0.0, need.kv_tokens - room.kv_tokens),
            )
            for room in self._rooms
        }
        full = all(lack.requests or lack.kv_tokens for lack in lacks.values())
        return lacks if full else {}

    def _best(self, need: Need, priority: Priority) -> EngineRoom | None:
        fitting = [room for room in self._rooms if room.fits(need, priority)]
        return max(fitting, key=lambda room: (room.idle, room.prefill_tokens), default=None)
