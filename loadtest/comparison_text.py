"""A comparison for people and for programs: its lines as a table, and as JSON.

Latencies are in ms, shares in percent; changes of shares are in percentage points.
"""

from dataclasses import asdict, dataclass
from typing import Any

from loadtest.comparison import Change

HEADER = ("metric", "A", "B", "change", "95 % interval", "verdict")
NONE = "-"


@dataclass(frozen=True, slots=True)
class _Form:
    """How a metric's values are written: times `scale`, with so many decimals."""

    scale: float
    unit: str
    digits: int

    @classmethod
    def of(cls, change: Change) -> "_Form":
        scale, unit = _unit(change.metric)
        most = max(abs(value) * scale for value in (change.a or 0.0, change.b or 0.0))
        return cls(scale, unit, 0 if most >= 1000 else 1 if most >= 100 else 2)

    def value(self, value: float | None, sign: str = "") -> str:
        return NONE if value is None else f"{value * self.scale:{sign},.{self.digits}f}"

    def change(self, value: float | None) -> str:
        return self.value(value, "+")


def line(change: Change) -> list[str]:
    """One line of the table under `HEADER`."""
    form, interval = _Form.of(change), change.interval
    return [
        _title(change.metric, form.unit),
        _with_n(change, form.value(change.a), change.n_a),
        _with_n(change, form.value(change.b), change.n_b),
        form.change(change.change) + _relative(change),
        f"{form.change(interval.low)} to {form.change(interval.high)}" if interval else NONE,
        change.verdict,
    ]


def as_json(change: Change) -> dict[str, Any]:
    """In seconds, shares and per second, as the metric's name says."""
    interval = change.interval and list(change.interval)
    derived = {"change": change.change, "change_frac": change.change_frac, "interval": interval}
    return asdict(change) | derived


def _unit(metric: str) -> tuple[float, str]:
    """The factor from a metric's own unit to the one shown, and that."""
    if metric.endswith("_per_s"):
        return 1.0, "per s"
    return (1e3, "ms") if metric.endswith("_s") else (100.0, "%")


def _title(metric: str, unit: str) -> str:
    """`ttft_p99_s` is `TTFT p99, ms`."""
    words = metric.removesuffix("_per_s").removesuffix("_s").removesuffix("_frac").split("_")
    name, *rest = words
    shown = name.upper() if unit == "ms" else name
    return f"{' '.join([shown, *rest])}, {unit}"


def _with_n(change: Change, value: str, n: int) -> str:
    return f"{value} (n={n:,})" if "_p99" in change.metric and value != NONE else value


def _relative(change: Change) -> str:
    return "" if change.change_frac is None else f" ({100 * change.change_frac:+.1f} %)"
