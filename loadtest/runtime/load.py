"""What is to be sent, as the runtime sees it: sessions and bounds, no scenario, no workload."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal, Protocol

from loadtest.chaos.order import Order
from loadtest.run_records import RequestRecord
from loadtest.sessions import Session
from loadtest.slo import IsGood

Mode = Literal["open", "closed"]


class Aim(Protocol):
    """The server that is asked: `headers` carry its API key, if any."""

    @property
    def base_url(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class PlainAim:
    """An aim that needs nobody to ask."""

    base_url: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """So many users from an instant of a closed loop on, of which so many come or go a second."""

    users: int
    from_s: float = 0.0
    spawn_rate_per_s: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load. `config` is what `config.json` says of it, JSON only.

    `find` asks the server at a base URL what it is, `build` makes every session of the load for it;
    both may take seconds, and say by a LoadError what is wrong. `max_in_flight` bounds an open
    loop, and is split over the workers as the sessions are. A request that is due before
    `warm_up_s` is marked as one of the warm-up. `tenant_headers` are laid over the aim's. A closed
    loop has `stages`, the first from 0 s on, or `users` all the time; with stages, `users` is the
    most there are. `is_good` says whether a request met the load's objective; None where it has
    none. `faults` says what is to be done to the server meanwhile; None for a load that leaves it
    alone.
    """

    name: str
    mode: Mode
    duration_s: float
    timeout_s: float
    find: Callable[[str], Aim]
    build: Callable[[Any], Sequence[Session]]
    warm_up_s: float = 0.0
    users: int = 1
    stages: tuple[Stage, ...] = ()
    max_in_flight: int = 1000
    config: Mapping[str, Any] = field(default_factory=dict)
    tenant_headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    is_good: IsGood | None = None
    faults: Callable[[Any], Order] | None = None

    def good(self, record: RequestRecord) -> bool | None:
        """Whether it met the objective; None without one, and of the warm-up."""
        return None if self.is_good is None or record.warm_up else self.is_good(record.sample)

    def headers(self, aim: Aim, session: Session) -> Mapping[str, str]:
        """What a request of `session` carries."""
        return {**aim.headers, **self.tenant_headers.get(session.tenant or "", {})}

    def connections(self, workers: int) -> int:
        """How many requests one of `workers` may have in flight."""
        whole = self.max_in_flight if self.mode == "open" else self.users
        return ceil(whole / workers)


class LoadError(Exception):
    """The load cannot be sent; the message says why, to the person who asked for it."""


def share_of(sessions: Sequence[Session], rank: int, workers: int) -> list[Session]:
    """The sessions that worker `rank` of `workers` sends, in the order in which they begin.

    Every session is in the share of exactly one worker. Raises LoadError where two have one index.
    """
    if len({session.index for session in sessions}) < len(sessions):
        raise LoadError("two sessions of the load have the same index")
    mine = [session for session in sessions if session.index % workers == rank]
    return sorted(mine, key=lambda session: (session.at_s or 0.0, session.index))
