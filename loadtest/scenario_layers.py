"""A scenario's file, the chosen variant and what the command line sets, laid over each other.

Mappings are merged key by key, all else is replaced; a part that becomes another `kind` is replaced
whole, since its keys would mean nothing there. Errors name the layer that a value is written in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from loadtest.scenario_errors import KIND, Location, key_path

SET = "--set "


@dataclass(frozen=True, slots=True)
class Layer:
    """`prefix` goes before the key path of what is written here."""

    prefix: str
    data: Mapping[str, Any]


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The later over the earlier."""
    found: dict[str, Any] = {}
    for layer in layers:
        found = _over(found, layer.data)
    return found


def written_at(layers: Sequence[Layer], location: Location) -> str:
    """The key path of a location, in the last layer that says anything there."""
    path = key_path(location)
    for layer in reversed(layers):
        if _says(layer.data, location):
            return layer.prefix + path
    return path


def settings(texts: Sequence[str]) -> dict[str, Any]:
    """`["arrivals.rate_per_s=4", "seed=7"]` as a mapping; values are YAML. Raises ValueError."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"{SET}{text}: not KEY=VALUE, as in arrivals.rate_per_s=4")
        try:
            part: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"{SET}{key}: {value!r} is not valid YAML: {error}") from None
        for name in reversed(key.split(".")):
            part = {name: part}
        found = _over(found, part)
    return found


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return dict(below) | {key: _merged_value(below.get(key), above[key]) for key in above}


def _merged_value(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    changes_kind = KIND in above and above[KIND] != below.get(KIND)
    return above if changes_kind else _over(below, above)


def _says(data: Any, location: Location) -> bool:
    for part in location:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
