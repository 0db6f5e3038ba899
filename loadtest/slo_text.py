"""The grammar of an SLO, which `loadtest/slo.py` documents: text or mapping to the model's fields.

Every mistake is reported at once, each with its key, in one ValueError.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, cast

Metric = Literal["ttft", "tpot", "itl", "e2e"]

PRESETS = {
    "llama-3.1-8b": "ttft_p99=2000ms,tpot_p99=100ms",
    "llama-3.1-8b-interactive": "ttft_p99=500ms,tpot_p99=30ms",
    "llama-2-70b": "ttft_p99=2000ms,tpot_p99=200ms",
    "llama-2-70b-interactive": "ttft_p99=450ms,tpot_p99=40ms",
}
"""The bounds of MLPerf Inference's server scenario, which asks for runs of at least 600 s."""

LATENCY = re.compile(r"(ttft|tpot|itl|e2e)_p(\d{1,3}(?:\.\d{1,3})?)(?:_(ms|s))?")
TIME = re.compile(r"([0-9.eE+-]+)\s*(ms|s)")
PER_S = {"ms": 1000, "s": 1}  # dividing by it rounds once; multiplying by 0.001 would twice


@dataclass(frozen=True, slots=True)
class LatencyBound:
    """A percentile of a latency metric is at most `bound_s` seconds."""

    metric: Metric
    percent: float
    bound_s: float

    @property
    def name(self) -> str:
        return f"{self.metric}_p{self.percent:g}"


def fields_of(data: str | Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of `Slo`. Raises ValueError with every mistake."""
    clauses: dict[str, Any] = {}
    preset: dict[str, Any] = {}
    problems = []
    for key, value in _pairs(data):
        try:
            if key == "preset":
                preset = _preset(value)
            else:
                _add(clauses, *_clause(key, value))
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if not (preset or clauses or problems):
        problems.append("an SLO needs at least one clause, such as ttft_p99=500ms")
    if problems:
        raise ValueError("; ".join(problems))
    return _as_fields(preset | clauses)


def key_of(bound: LatencyBound) -> tuple[str, str]:
    """The bound as key and value of the text; reading them gives the same float again."""
    for unit, per_s in PER_S.items():
        number = f"{bound.bound_s * per_s:.15g}"
        if float(number) / per_s == bound.bound_s:
            return bound.name, number + unit
    return bound.name, f"{bound.bound_s!r}s"


def _pairs(data: str | Mapping[Any, Any]) -> list[tuple[str, Any]]:
    if not isinstance(data, str):
        return [(str(key), value) for key, value in data.items()]
    parts = [part.strip() for part in data.split(",") if part.strip()]
    return [_pair(part) if "=" in part else ("preset", part) for part in parts]


def _pair(part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    return key.strip(), value.strip()


def _preset(name: Any) -> dict[str, Any]:
    if name not in PRESETS:
        raise ValueError(f"there is no {name!r}; there are {', '.join(PRESETS)}")
    return dict(_clause(*_pair(part)) for part in PRESETS[name].split(","))


def _add(clauses: dict[str, Any], name: str, value: Any) -> None:
    if name in clauses:
        raise ValueError("is given twice")
    clauses[name] = value


def _clause(key: str, value: Any) -> tuple[str, Any]:
    """A clause's name, and its bound as the model holds it."""
    if found := LATENCY.fullmatch(key):
        metric, percent, unit = found.groups()
        if not 0 < float(percent) <= 100:
            raise ValueError(f"percent must be in (0, 100], not {percent}")
        bound_s = _time_s(value) if unit is None else _positive(value) / PER_S[unit]
        bound = LatencyBound(cast(Metric, metric), float(percent), bound_s)
        return bound.name, bound
    if key in OTHERS:
        return key, OTHERS[key](value)
    raise ValueError(
        "is no clause; there are <ttft|tpot|itl|e2e>_p<percent>, preset, " + ", ".join(OTHERS)
    )


def _time_s(value: Any) -> float:
    found = TIME.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{value!r} is not a time with its unit, such as 500ms or 0.5s")
    return _positive(found[1]) / PER_S[found[2]]


def _share(value: Any) -> float:
    percent = isinstance(value, str) and value.endswith("%")
    share = _number(value[:-1]) / 100 if percent else _number(value)
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not a share from 0 to 1, or a percentage")
    return share


def _positive(value: Any) -> float:
    number = _number(value)
    if not number > 0:
        raise ValueError(f"{value!r} must be above 0")
    return number


def _number(value: Any) -> float:
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{value!r} is not a number")
    return number


OTHERS: dict[str, Callable[[Any], float]] = {
    "error_rate": _share,
    "attainment_min": _share,
    "goodput_per_s_min": _positive,
}


def _as_fields(clauses: Mapping[str, Any]) -> dict[str, Any]:
    bounds = tuple(value for value in clauses.values() if isinstance(value, LatencyBound))
    return {"bounds": bounds} | {key: clauses[key] for key in OTHERS if key in clauses}
