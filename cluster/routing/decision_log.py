"""Routing decisions as JSON lines, and what a router makes of them later.

A line holds all that decided: the request (sizes, block names, the session's hash; no text), every
replica as it was seen, and the decision. Fields that have their default are left out. What was
drawn at random is not kept: a replay may pick another of several that were equal.

    ValueError
    └ DecisionLogError     a line that is no decision: which, where in it, and why
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cluster.routing import Router
from cluster.routing.affinity_key import hashed
from cluster.spec_errors import key_path
from cluster.types import (
    ReplicaId,
    ReplicaSnapshot,
    Rng,
    RouteDecision,
    RouteReason,
    RouteRequest,
)

BY_CHANCE = frozenset({RouteReason.TIE, RouteReason.RANDOM})
"""Where equal replicas were told apart by a draw, or all were equal."""


class DecisionLogError(ValueError):
    """Line `line` (from 1) of a decision log is wrong at `field` (empty: as a whole)."""

    def __init__(self, line: int, field: str, problem: str) -> None:
        super().__init__(line, field, problem)
        self.line, self.field, self.problem = line, field, problem

    def __str__(self) -> str:
        where = f"line {self.line}, {self.field}" if self.field else f"line {self.line}"
        return f"{where}: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision of the policy called `policy`, at `at_unix_s` (seconds, for people to read)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="forbid", allow_inf_nan=False
    )

    version: Literal[1]
    policy: str
    at_unix_s: float
    request: RouteRequest
    replicas: tuple[ReplicaSnapshot, ...]
    decision: RouteDecision


_RECORD = TypeAdapter(DecisionRecord)


def record(
    policy: str,
    request: RouteRequest,
    replicas: Sequence[ReplicaSnapshot],
    decision: RouteDecision,
    *,
    at_unix_s: float,
) -> DecisionRecord:
    """What is to be logged: the session only by its hash, which every policy takes for the same."""
    key = request.affinity_key
    return DecisionRecord(
        version=1,
        policy=policy,
        at_unix_s=at_unix_s,
        request=replace(
            request,
            blocks=tuple(request.blocks),
            affinity_key=None if key is None else hashed(key),
        ),
        replicas=tuple(replicas),
        decision=replace(decision, costs=tuple(decision.costs)),
    )


def dumps(decision_record: DecisionRecord) -> str:
    """The record as one line, without its end."""
    return _RECORD.dump_json(decision_record, exclude_defaults=True).decode()


def loads(line: str, number: int = 1) -> DecisionRecord:
    """The record in `line`, the `number`th of its file. Raises DecisionLogError."""
    try:
        read = _RECORD.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise DecisionLogError(number, key_path(first["loc"]), first["msg"]) from None
    request = replace(read.request, blocks=tuple(read.request.blocks))
    decision = replace(read.decision, costs=tuple(read.decision.costs))
    if decision.replica_id not in {replica.id for replica in read.replicas}:
        problem = f"{decision.replica_id!r} is none of the replicas"
        raise DecisionLogError(number, "decision.replica_id", problem)
    return replace(read, request=request, decision=decision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Record `index` (from 0): the router picked another replica than the log says.

    `extra_cost_s`: by how much more the router predicts its own pick to cost than the logged one;
    None where it predicts no costs.
    """

    index: int
    logged: ReplicaId
    logged_reason: RouteReason
    replayed: ReplicaId
    replayed_reason: RouteReason
    extra_cost_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """`decisions` = `agreed` + `by_chance` + len(`differences`).

    `by_chance`: another pick, where both the log and the router say that a draw decided.
    """

    decisions: int
    agreed: int
    by_chance: int
    differences: tuple[Difference, ...]

    @property
    def agreement_frac(self) -> float:
        """Choices that agree or differ by chance only, of all; 1 where there are none."""
        same = self.agreed + self.by_chance
        return same / self.decisions if self.decisions else 1.0


def replay(records: Iterable[DecisionRecord], router: Router, rng: Rng) -> ReplayReport:
    """Asks `router` for each decision anew, in order.

    A policy with a memory has seen only what is in the log: of a sample, another past than the one
    that decided.
    """
    decisions, agreed, by_chance = 0, 0, 0
    differences = []
    for index, each in enumerate(records):
        replayed = router.choose(each.request, each.replicas, rng)
        decisions += 1
        if replayed.replica_id == each.decision.replica_id:
            agreed += 1
        elif {replayed.reason, each.decision.reason} <= BY_CHANCE:
            by_chance += 1
        else:
            differences.append(_difference(index, each.decision, replayed))
    return ReplayReport(
        decisions=decisions,
        agreed=agreed,
        by_chance=by_chance,
        differences=tuple(differences),
    )


def _difference(index: int, logged: RouteDecision, replayed: RouteDecision) -> Difference:
    costs_s = {cost.replica_id: cost.cost_s for cost in replayed.costs}
    extra_cost_s = costs_s[replayed.replica_id] - costs_s[logged.replica_id] if costs_s else None
    return Difference(
        index=index,
        logged=logged.replica_id,
        logged_reason=logged.reason,
        replayed=replayed.replica_id,
        replayed_reason=replayed.reason,
        extra_cost_s=extra_cost_s,
    )
