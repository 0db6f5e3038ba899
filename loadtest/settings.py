"""Nested settings, flat: names as `arrivals.rate_per_s`, values as text."""

from collections.abc import Iterator, Mapping
from typing import Any

NOT_GIVEN = str(None)


def flat(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """In the order in which they are written."""
    for key, value in found.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, Mapping) and value:
            yield from flat(value, name)
        else:
            yield name, _shown(value)


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """A line for each setting that is not the same in both; one that is not there is as none."""
    flat_a, flat_b = dict(flat(a)), dict(flat(b))
    return [
        f"{name}: {flat_a.get(name, 'not set')} in A, {flat_b.get(name, 'not set')} in B"
        for name in {**flat_a, **flat_b}
        if flat_a.get(name, NOT_GIVEN) != flat_b.get(name, NOT_GIVEN)
    ]


def _shown(value: Any) -> str:
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
