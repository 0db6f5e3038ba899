"""Which engines go first when there are to be fewer: those with the least to lose."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.scaling.signals import EngineSignals, EngineState


def victims(engines: Iterable[EngineSignals]) -> list[EngineSignals]:
    """All that do not drain already, the first to go first: those that have not started yet, then
    those with the fewest requests, which have to move or be waited for, and of equals those with
    the fewest cached blocks, which are computed again elsewhere. Ties go by id."""
    return sorted(
        (engine for engine in engines if engine.state is not EngineState.DRAINING),
        key=lambda engine: (
            engine.state is EngineState.READY,
            engine.running_requests + engine.waiting_requests,
            engine.cached_blocks,
            engine.id,
        ),
    )
