"""Requests that the switch ends in an error: why, what the client is told, what vLLM is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vllm.v1.engine import EngineCoreOutput, FinishReason

from cluster.failover import FailoverLimits, FailReason
from serve_app.flights import Flight
from serve_app.wire import MAX_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a flight ended in an error; `message` is for the client."""

    reason: FailReason
    message: str

    @classmethod
    def of(cls, reason: FailReason, flight: Flight, limits: FailoverLimits) -> Failure:
        """The failure of a flight, as its history is now."""
        return cls(reason, _MESSAGES[reason](flight, limits))

    @property
    def retryable(self) -> bool:
        """Whether the same request may well succeed a little later (503 rather than 500)."""
        return self.reason in _RETRYABLE

    @property
    def is_callers(self) -> bool:
        """Whether the request itself cannot be served (400)."""
        return self.reason is FailReason.TOO_LARGE


_RETRYABLE = {FailReason.NO_ENGINE, FailReason.MAX_ATTEMPTS, FailReason.OVERLOADED}

_MESSAGES: dict[FailReason, Callable[[Flight, FailoverLimits], str]] = {
    FailReason.NO_ENGINE: lambda flight, limits: (
        f"no engine of this model became available within {limits.hold_timeout_s:g} s; "
        "try again later"
    ),
    FailReason.POISON: lambda flight, limits: (
        f"engine_lost: {len(flight.died_on)} engines died while they ran this request, "
        "so it is not given to another"
    ),
    FailReason.MAX_ATTEMPTS: lambda flight, limits: (
        f"the request lost its engine {flight.losses} times; failover.max_attempts allows "
        f"{limits.max_attempts}"
    ),
    FailReason.NOT_RESUMABLE: lambda flight, limits: (
        f"engine_lost: its engine was lost after {len(flight.emitted)} tokens, and no engine here "
        "can continue this kind of request exactly"
    ),
    FailReason.DIVERGED: lambda flight, limits: (
        "engine_lost: another engine did not reproduce the tokens already sent, "
        "so it may not continue the answer"
    ),
    FailReason.TOO_LARGE: lambda flight, limits: (
        "one of its inputs, an image for example, is more than an engine is sent in one piece: "
        f"over {MAX_FRAME_BYTES:,} bytes, once processed"
    ),
    FailReason.OVERLOADED: lambda flight, limits: (
        "this gateway has as many requests in flight as gateway.max_flights allows; try again later"
    ),
}


def error_output(flight: Flight) -> EngineCoreOutput:
    """The last output of a failed flight, as an engine would end it."""
    output = EngineCoreOutput(
        request_id=flight.request_id, new_token_ids=[], finish_reason=FinishReason.ERROR
    )
    if flight.request.pooling_params is not None:
        # The only error an API server accepts for a pooling request is vLLM's own retryable one,
        # which a non-empty list here stands for; `serve_app.fleet_llm` puts our message in.
        output.mm_cache_miss_hashes = [flight.request_id]
    return output
