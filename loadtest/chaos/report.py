"""The table and the verdict of a chaos test: pure functions of its rows.

A request that ends without an answer has failed, with one exception that is counted apart: one that
the transport cut, or the ingress refused, around the kill of a gateway. A gateway's streams are
lost with it, and this says nothing about engines. A wrong answer is never excused.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loadtest.chaos.plan import Fault
from loadtest.chaos.processes import Growth
from loadtest.chaos.records import EndRow, FaultRow, RequestRow, Row, RunRow
from loadtest.metrics import percentile

GATEWAY_GONE_S = 10.0
"""How long after its kill the ingress may still send requests to a gateway."""

EXAMPLES = 5
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the rows add up to."""

    run: RunRow
    end: EndRow
    faults: list[FaultRow]
    requests: list[RequestRow]
    failed: list[RequestRow]
    lost_with_gateway: list[RequestRow]
    wrong: list[RequestRow]

    @property
    def done(self) -> list[FaultRow]:
        return [fault for fault in self.faults if not fault.missed]

    @property
    def gaps_s(self) -> list[float]:
        """The longest gap of each answered stream that was under way at a fault."""
        return [
            request.longest_gap_s
            for request in self.requests
            if request.longest_gap_s is not None
            and any(request.began_s < fault.at_s < request.ended_s for fault in self.done)
        ]

    @property
    def problems(self) -> list[str]:
        """Why the test has not passed; empty where it has."""
        end = self.end
        found = [
            (not self.requests, "no request ended"),
            (self.run.settings["faults"] and not self.done, "no fault could be done"),
            (self.failed, f"{len(self.failed)} requests failed"),
            (self.wrong, f"{len(self.wrong)} answers are wrong"),
            (end.leaked_flights, f"{end.leaked_flights} flights leaked"),
            (end.orphans, f"{len(end.orphans)} processes outlived their engine"),
            (end.whole_after_s is None, "the fleet did not become whole again"),
        ]
        return [problem for is_so, problem in found if is_so]


def summary(rows: Iterable[Row]) -> Summary:
    """Raises ValueError where the rows are not those of one finished test."""
    rows = list(rows)
    (run,) = (row for row in rows if isinstance(row, RunRow))
    (end,) = (row for row in rows if isinstance(row, EndRow))
    faults = [row for row in rows if isinstance(row, FaultRow)]
    requests = [row for row in rows if isinstance(row, RequestRow)]
    kills_s = [f.at_s for f in faults if f.fault == Fault.KILL_GATEWAY and not f.missed]
    without = [request for request in requests if request.error is not None]
    excused = [request for request in without if _went_with_gateway(request, kills_s)]
    return Summary(
        run=run,
        end=end,
        faults=faults,
        requests=requests,
        failed=[request for request in without if request not in excused],
        lost_with_gateway=excused,
        wrong=[request for request in requests if request.wrong is not None],
    )


def _went_with_gateway(request: RequestRow, kills_s: Sequence[float]) -> bool:
    return request.cut and any(
        request.began_s - GATEWAY_GONE_S <= kill_s <= request.ended_s for kill_s in kills_s
    )


def render(found: Summary) -> str:
    """The table, the first of what went wrong, and the verdict."""
    end = found.end
    lines = [
        ("requests", f"{len(found.requests):,} in {end.duration_s:.0f} s"),
        ("faults", _faults(found.done)),
        ("moved", f"{end.moved:,}"),
        ("failed", str(len(found.failed))),
        ("lost with a killed gateway", str(len(found.lost_with_gateway))),
        ("wrong", str(len(found.wrong))),
        ("longest gap of a stream that met a fault", _gaps(found.gaps_s)),
        ("orphan processes", str(len(end.orphans))),
        ("leaked flights", str(end.leaked_flights)),
        ("fleet whole again", _whole(end)),
        *((f"memory of {role}", _memory(grown)) for role, grown in end.memory.items()),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in [("", ""), ("---", "---"), *lines])
    return "\n\n".join([table, *_examples(found), _verdict(found)]) + "\n"


def _faults(done: Sequence[FaultRow]) -> str:
    counts = Counter(fault.fault for fault in done)
    kinds = ", ".join(f"{fault} {counts[fault]}" for fault in Fault if counts[fault])
    return f"{len(done)}: {kinds}" if done else "0"


def _gaps(gaps_s: Sequence[float]) -> str:
    if not gaps_s:
        return "no stream met one"
    values = [percentile(gaps_s, percent) for percent in (50, 99, 100)]
    p50, p99, longest = (f"{value.value:.2f} s" for value in values if value is not None)
    return f"p50 {p50}, p99 {p99}, max {longest} (n = {len(gaps_s)})"


def _whole(end: EndRow) -> str:
    return "no" if end.whole_after_s is None else f"{end.whole_after_s:.0f} s after the last answer"


def _memory(grown: Growth) -> str:
    change = (grown.after_bytes - grown.before_bytes) / MEGABYTE
    before, processes = grown.before_bytes / MEGABYTE, grown.processes
    return f"{change:+.0f} MB on {before:,.0f} MB ({processes} that lived throughout)"


def _examples(found: Summary) -> list[str]:
    shown = [f"  {row.kind} at {row.began_s:.1f} s: {row.error}" for row in found.failed]
    shown += [f"  {row.kind} at {row.began_s:.1f} s: wrong: {row.wrong}" for row in found.wrong]
    shown += [f"  orphan: {orphan}" for orphan in found.end.orphans]
    if len(shown) > EXAMPLES:
        shown[EXAMPLES:] = [f"  and {len(shown) - EXAMPLES} more"]
    return ["\n".join(shown)] if shown else []


def _verdict(found: Summary) -> str:
    return f"FAILED: {'; '.join(found.problems)}" if found.problems else "passed"
