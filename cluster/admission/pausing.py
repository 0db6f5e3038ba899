"""Which batch requests are moved out of a full engine, so that an interactive one can run.

A paused request keeps its tokens (the switch resumes it as after a lost engine) and loses its KV:
its prompt and its output so far are computed again. So on an engine those go first that lose least,
and of equals those that were paused least often; and it is the engine where least is lost. None is
paused that is about to end, or that has been paused `MOST_PAUSES` times: it would only ever be
computed again. And none where even all of them would not make the room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.admission.engine_room import Lacking
from cluster.types import ReplicaId

MOST_PAUSES = 3
"""As often as a request may lose its engine by default (failover.max_attempts)."""

SOON_TOKENS = 32
"""With less to come than this it ends in about the time that another's prefill takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBatch:
    """A batch request at an engine. `held_tokens`: prompt and output so far, in KV. `left_tokens`:
    that may still come, at most."""

    request_id: str
    replica_id: ReplicaId
    held_tokens: int
    left_tokens: int
    pauses: int = 0


def to_pause(
    running: Iterable[RunningBatch], lacking: Mapping[ReplicaId, Lacking]
) -> list[RunningBatch]:
    """Those to move out, in this order; `lacking`: what has to be freed, by engine."""
    able: dict[ReplicaId, list[RunningBatch]] = defaultdict(list)
    for each in running:
        if each.pauses < MOST_PAUSES and each.left_tokens >= SOON_TOKENS:
            able[each.replica_id].append(each)
    ways = [
        way
        for replica_id, lack in lacking.items()
        if (way := _fewest(able[replica_id], lack)) is not None
    ]
    return min(ways, key=lambda way: sum(each.held_tokens for each in way), default=[])


def _fewest(able: list[RunningBatch], lack: Lacking) -> list[RunningBatch] | None:
    """The first, by what they lose, that free enough; None where all together do not."""
    able = sorted(able, key=lambda each: (each.held_tokens, each.pauses, each.request_id))
    chosen: list[RunningBatch] = []
    freed_tokens = 0
    for each in able:
        if len(chosen) >= lack.requests and freed_tokens >= lack.kv_tokens:
            break
        chosen.append(each)
        freed_tokens += each.held_tokens
    enough = len(chosen) >= lack.requests and freed_tokens >= lack.kv_tokens
    return chosen if enough else None
