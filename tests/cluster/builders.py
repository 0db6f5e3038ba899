"""Builders of what policies are given, and a source of randomness that tests can enumerate."""

from __future__ import annotations

from cluster.types import ReplicaId, ReplicaSnapshot, RouteRequest


def replica(name: str, outstanding_tokens: int = 0, **loads: float) -> ReplicaSnapshot:
    """An idle replica unless told otherwise."""
    return ReplicaSnapshot(
        id=ReplicaId(name),
        outstanding_tokens=outstanding_tokens,
        **loads,  # type: ignore[arg-type]
    )


def route_request(prompt_tokens: int = 100, max_output_tokens: int = 50) -> RouteRequest:
    return RouteRequest(prompt_tokens=prompt_tokens, max_output_tokens=max_output_tokens)


class Draw:
    """An `Rng` whose one draw is given: counting over all draws gives exact probabilities."""

    def __init__(self, value: int) -> None:
        self._value = value

    def random(self) -> float:
        raise AssertionError("this policy draws integers only")

    def randrange(self, stop: int, /) -> int:
        assert stop > 0
        return self._value % stop
