"""What becomes of a request whose engine is lost: moved (and how), or failed (and why).

Three ways to move, cheapest first:

| kind    | what the next engine is given               | exact for                                |
|---------|---------------------------------------------|------------------------------------------|
| resend  | the original request                        | anything, as long as nothing was emitted |
| prefill | prompt + emitted tokens as the new prompt   | sampling that looks only at the tokens   |
| replay  | the original request, emitted tokens forced | sampling with state of its own           |

A prefill resume costs one prefill; a replay costs one decode step per emitted token, so it is kept
for requests whose next token depends on more than the token sequence: a seeded generator, presence
and frequency penalties (which count *output* tokens), a grammar's position, multi-token bad words.
What cannot be resumed exactly is failed with its reason, never continued wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ResumeKind(StrEnum):
    """How a moved request starts on its next engine."""

    RESEND = "resend"
    PREFILL = "prefill"
    REPLAY = "replay"


class LossCause(StrEnum):
    """Why an engine no longer has a request."""

    DISCONNECTED = "disconnected"
    CORE_DEAD = "core_dead"
    REMOVED = "removed"
    ABORTED = "aborted"
    HEDGED = "hedged"
    PAUSED = "paused"

    @property
    def is_death(self) -> bool:
        """Whether the request itself may be to blame."""
        return self in (LossCause.DISCONNECTED, LossCause.CORE_DEAD)

    @property
    def is_planned(self) -> bool:
        """Whether we took the request away ourselves: that is held against nobody."""
        return self in (LossCause.REMOVED, LossCause.HEDGED, LossCause.PAUSED)


class FailReason(StrEnum):
    """Why a request was ended with an error instead of being moved."""

    MAX_ATTEMPTS = "max_attempts"
    POISON = "poison"
    NOT_RESUMABLE = "not_resumable"
    NO_ENGINE = "no_engine"
    DIVERGED = "diverged"
    OVERLOADED = "overloaded"
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverLimits:
    """Bounds of the spec's `failover` section; see `cluster.spec.FailoverSpec`."""

    max_attempts: int = 3
    poison_deaths: int = 2
    hold_timeout_s: float = 120.0
    finish_within_s: float = 2.0
    hedge_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTraits:
    """What decides how a request may be resumed.

    `stateful_sampling`: its next token depends on more than the token sequence.
    `resumable`: false for requests that no engine but the first can continue (streamed input).
    """

    stateful_sampling: bool = False
    resumable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDecision:
    """`resume` is how to go on; where it is None, `fail` says why not."""

    resume: ResumeKind | None = None
    fail: FailReason | None = None


def resume_kind(traits: RequestTraits, emitted_tokens: int) -> ResumeKind:
    """The cheapest exact way to continue after `emitted_tokens` tokens reached the client."""
    if emitted_tokens == 0:
        return ResumeKind.RESEND
    return ResumeKind.REPLAY if traits.stateful_sampling else ResumeKind.PREFILL


def ends_soon(
    *, left_tokens: int | None, emitted_tokens: int, elapsed_s: float, limits: FailoverLimits
) -> bool:
    """Whether a request on a leaving engine is left there, because it is about to end anyway.

    Args:
        left_tokens: the most that it may still emit; None where nothing bounds it.
        emitted_tokens: what this engine has emitted, in `elapsed_s` since the first of them.
        limits: the spec's bounds.
    """
    if left_tokens is None or emitted_tokens < 2:
        return False
    return left_tokens * elapsed_s / (emitted_tokens - 1) <= limits.finish_within_s


def worth_hedging(
    *, waited_s: float, here_tokens: int, there_tokens: int, limits: FailoverLimits
) -> bool:
    """Whether a request that has no token yet is better off on another engine.

    Args:
        waited_s: since it was sent to its engine.
        here_tokens: what else is outstanding there.
        there_tokens: what is outstanding on the engine that it would go to.
        limits: the spec's bounds.
    """
    if limits.hedge_after_s is None or waited_s < limits.hedge_after_s:
        return False
    return there_tokens <= here_tokens  # on an engine that is more loaded it would wait longer


def decide_move(
    *,
    cause: LossCause,
    traits: RequestTraits,
    emitted_tokens: int,
    losses: int,
    deaths: int,
    limits: FailoverLimits,
) -> MoveDecision:
    """Move or fail a request that loses its engine.

    Args:
        cause: of this loss.
        traits: what kind of request it is.
        emitted_tokens: output tokens already passed to the client.
        losses: times it lost an engine unplanned, this time included.
        deaths: engines that died while it ran on them, this one included.
        limits: the spec's bounds.
    """
    if not cause.is_planned and deaths >= limits.poison_deaths:
        return MoveDecision(fail=FailReason.POISON)
    if not cause.is_planned and losses > limits.max_attempts:
        return MoveDecision(fail=FailReason.MAX_ATTEMPTS)
    if not traits.resumable:
        return MoveDecision(fail=FailReason.NOT_RESUMABLE)
    return MoveDecision(resume=resume_kind(traits, emitted_tokens))
