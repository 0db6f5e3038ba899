"""How long an engine that starts waits, since the model's engines keep dying soon after they start.

Serve backs off replicas that fail to start; one that gets ready and then dies is started again at
once, for ever, and each start costs tens of seconds of its node's CPUs and GPUs. What an engine did
is known by its *life*, which it writes down while it lasts; one that falls silent without having
left is dead. Times are wall-clock seconds, since engines of different nodes and processes write
them: clocks that disagree by seconds make a wait a step too long or too short, no more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

BEAT_EVERY_S = 2.0
"""How often a life is written. Well below what it takes to start a process that imports vLLM, so
that the engine that replaces a dead one finds it silent."""

DEAD_AFTER_S = 3 * BEAT_EVERY_S

YOUNG_S = 120.0
"""An engine that was ready for so long shows that engines of this kind can work."""

FREE_DEATHS = 2
"""Young deaths in a row that make nobody wait: a kill and a lost spot node are no loop."""

FORGET_S = 600.0
"""A loop is over after so long without a death. Above the longest turn of a real one: the longest
wait the spec allows (300 s), a start of minutes, and a life that counts as young."""

REMEMBERED = 16
"""Most ended lives that are kept: more deaths than the longest allowed wait needs (12)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One engine since it was ready; `left`: it was told to go, and did not die."""

    ready_at_s: float
    last_alive_at_s: float
    left: bool = False

    @property
    def is_young(self) -> bool:
        return self.last_alive_at_s - self.ready_at_s < YOUNG_S

    def has_ended(self, now_s: float) -> bool:
        return self.left or now_s - self.last_alive_at_s > DEAD_AFTER_S


def young_deaths(lives: Collection[Life], now_s: float) -> int:
    """How many engines have died young, one after the other, up to now.

    An engine that got old, whatever became of it, forgives the deaths up to the moment when it did:
    not later ones, or one good replica would hide another's loop for ever.
    """
    got_old_at_s = [life.ready_at_s + YOUNG_S for life in lives if not life.is_young]
    since_s = max(got_old_at_s, default=float("-inf"))
    dead = [life for life in lives if life.is_young and not life.left and life.has_ended(now_s)]
    return len(_in_a_row([life for life in dead if life.last_alive_at_s >= since_s], now_s))


def backoff_s(young_deaths: int, max_s: float) -> float:
    """Seconds to wait after so many: none at first, then 1, 2, 4 ... up to `max_s`."""
    if young_deaths <= FREE_DEATHS:
        return 0.0
    doublings = min(young_deaths - FREE_DEATHS - 1, REMEMBERED)
    return min(max_s, 2.0**doublings)


def remembered(lives: Collection[Life], now_s: float) -> frozenset[Life]:
    """The lives that a later wait may depend on; the others can be deleted."""
    ended = [life for life in lives if life.has_ended(now_s)]
    telling = [life for life in ended if not (life.left and life.is_young)]
    return frozenset(lives) - frozenset(ended) | frozenset(_in_a_row(telling, now_s)[:REMEMBERED])


def _in_a_row(lives: list[Life], now_s: float) -> list[Life]:
    """Those that ended with no more than FORGET_S between them, back from now; newest first."""
    newest_first = sorted(lives, key=lambda life: life.last_alive_at_s, reverse=True)
    later_s = now_s
    for count, life in enumerate(newest_first):
        if later_s - life.last_alive_at_s > FORGET_S:
            return newest_first[:count]
        later_s = life.last_alive_at_s
    return newest_first
