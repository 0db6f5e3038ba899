"""The stages of a closed loop: how many users ask at once, and for how long.

    stages:
      - {users: 2, duration_s: 30}
      - {users: 16, duration_s: 60, spawn_rate_per_s: 1}   # come over 14 s
      - {users: 2, duration_s: 30}

The first stage's users are there when the load begins; the last stage holds to its end. Locust
looks once a second which stage it is. A user that is sent away first ends its session.
"""

from collections.abc import Iterator, Sequence

from pydantic import Field

from loadtest.scenario_parts import Part

FASTEST_SPAWN_PER_S = 100.0  # Locust warns above


class StagePart(Part):
    """One stage."""

    users: int = Field(ge=1, description="How many ask at once. Required.")
    duration_s: float = Field(
        gt=0, description="Seconds to the next stage; the last one holds to the end. Required."
    )
    spawn_rate_per_s: float | None = Field(
        default=None,
        gt=0,
        le=FASTEST_SPAWN_PER_S,
        description="How many users come or go a second until it is so many; not of the first "
        "stage. Default none: 100, more than that is known to make trouble.",
    )


def starts_s(stages: Sequence[StagePart]) -> list[float]:
    """When each begins, after the start of the load."""
    found = [0.0]
    for stage in stages:
        found.append(found[-1] + stage.duration_s)
    return found[: len(stages)]


def mistakes(stages: Sequence[StagePart], load_s: float | None) -> Iterator[str]:
    """What is wrong with them for a load of `load_s` seconds, None where that is not known."""
    if not stages:
        yield "there is no stage"
    elif stages[0].spawn_rate_per_s is not None:
        yield "[0].spawn_rate_per_s has no meaning: the first users are there at the start"
    for place, from_s in enumerate(starts_s(stages)[1:], 1):
        if load_s is not None and from_s >= load_s:
            yield f"[{place}] would begin at {from_s:g} s, not within duration_s ({load_s:g})"
        change = abs(stages[place].users - stages[place - 1].users)
        takes_s = change / (stages[place].spawn_rate_per_s or FASTEST_SPAWN_PER_S)
        if takes_s > stages[place].duration_s:
            lasts_s = stages[place].duration_s
            yield f"[{place}]: {change} users come or go in {takes_s:g} s, and it lasts {lasts_s:g}"
