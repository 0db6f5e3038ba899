"""What Serve tells a policy, as the scalers take it. Written against Ray 2.60.0, whose public
`AutoscalingContext` this reads: `raw_metrics` is {key: {replica: its points, oldest first}}.

Only the newest point counts: counters only grow, and what is smoothed over a window is late.
"""

from __future__ import annotations

from typing import Any

from serve_app.scaling_stats import PREFIX, Stats

SILENT_S = 10.0
"""A replica that reports every second and has not for so long hangs, or cannot reach the
controller. By our own clock: replicas' clocks may differ from it."""


class Newest:
    """Keeps when each replica's report last changed."""

    def __init__(self) -> None:
        self._changed: dict[str, tuple[float, float]] = {}  # report's time by its clock; by ours

    def of(self, context: Any, now_s: float) -> dict[str, Stats]:
        """{replica: what it said last} of those that run: nothing yet of a new one. One that fell
        silent is left out."""
        said: dict[str, Stats] = {each.unique_id: {} for each in context.running_replicas}
        newest = _newest_points(context)
        changed = {
            replica: self._since(replica, at_s, now_s) for replica, (at_s, _) in newest.items()
        }
        self._changed = changed
        for replica, (_, stats) in newest.items():
            if now_s - changed[replica][1] > SILENT_S:
                said.pop(replica, None)
            elif replica in said:
                said[replica] = stats
        return said

    def _since(self, replica: str, at_s: float, now_s: float) -> tuple[float, float]:
        before = self._changed.get(replica)
        return before if before is not None and before[0] == at_s else (at_s, now_s)


def _newest_points(context: Any) -> dict[str, tuple[float, dict[str, float]]]:
    """{replica: when it last said something, and what}; keys that it has stopped saying are out."""
    points: dict[str, dict[str, Any]] = {}
    for key, by_replica in (context.raw_metrics or {}).items():
        if key.startswith(PREFIX):
            for replica, series in by_replica.items():
                if series:
                    points.setdefault(replica.unique_id, {})[key] = series[-1]
    newest = {}
    for replica, last in points.items():
        at_s = max(point.timestamp for point in last.values())
        stats = {key: point.value for key, point in last.items() if point.timestamp == at_s}
        newest[replica] = (at_s, stats)
    return newest
