"""How violations of a scenario are collected and worded.

    ValueError
    └ ScenarioError     the scenario is wrong: `.violations` is every (key path, message)

pydantic finds the violations; here they get key paths as they are written in the file, and words
with the value and the bound.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = Sequence[int | str]
Violation = tuple[str, str]
"""A key path, empty for the whole file, and what is wrong there."""

KIND = "kind"
"""The key that chooses the class of a part. pydantic puts its value into an error's location."""


class ScenarioError(ValueError):
    """The scenario in `file` (or named so) is wrong, in every one of `violations`."""

    def __init__(self, file: str, violations: Sequence[Violation]) -> None:
        super().__init__(file, violations)
        self.file, self.violations = file, tuple(violations)

    def __str__(self) -> str:
        return "\n".join(
            f"{self.file}: {path}: {message}" if path else f"{self.file}: {message}"
            for path, message in self.violations
        )


def violations_of(
    error: ValidationError, root: type[BaseModel], data: Any
) -> list[tuple[tuple[int | str, ...], str]]:
    """Every violation in `error`, found in `data`, once, as (location of keys, message)."""
    found = [
        (tuple(_written(e["loc"], data)), _message(e, root))
        for e in error.errors(include_url=False)
    ]
    return list(dict.fromkeys(found))


def key_path(location: Location) -> str:
    """`("tenants", 0, "share")` as `tenants[0].share`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # pydantic's mark that the key itself is wrong
            path += f".{part}" if path else part
    return path


def _written(location: Location, data: Any) -> Iterable[int | str]:
    """The location in `data`: without the kinds that pydantic adds, and no deeper than a number
    that stands for a spread."""
    tagged = False
    for part in location:
        if not isinstance(data, Mapping | list | tuple):
            return
        is_tag = not tagged and isinstance(data, Mapping) and data.get(KIND) == part
        if not is_tag:
            yield part
            data = _below(data, part)
        tagged = is_tag


def _below(data: Any, part: int | str) -> Any:
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _message(error: ErrorDetails, root: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        *above, key = error["loc"]
        near = get_close_matches(str(key), _keys_at(root, above), n=1)
        return f"unknown key; did you mean {near[0]}?" if near else "unknown key"
    template = _WORDING.get(error["type"], "{input}: {msg}")
    return template.format(input=reprlib.repr(error["input"]), msg=error["msg"], **_context(error))


def _context(error: ErrorDetails) -> dict[str, Any]:
    return {k: v for k, v in error.get("ctx", {}).items() if k not in ("input", "msg")}


_WORDING = {
    "value_error": "{error}",
    "missing": "required, and not given",
    "greater_than": "{input} must be above {gt:g}",
    "greater_than_equal": "{input} is below the minimum {ge:g}",
    "less_than": "{input} must be below {lt:g}",
    "less_than_equal": "{input} is above the maximum {le:g}",
    "string_pattern_mismatch": "{input} does not match {pattern}",
    "literal_error": "{input} is not one of {expected}",
    "union_tag_invalid": "kind: {tag!r} is not one of {expected_tags}",
    "union_tag_not_found": "needs a kind",
}


def _keys_at(root: type[BaseModel], location: Location) -> list[str]:
    """The keys of the part at `location`, in which a kind stands before the keys of its part."""
    candidates = [root]
    for part in location:
        tagged = [each for each in candidates if _kind(each) == part]
        if tagged and len(candidates) > 1:
            candidates = tagged
        elif isinstance(part, str):
            fields = [each.model_fields[part] for each in candidates if part in each.model_fields]
            candidates = [found for field in fields for found in _parts_in(field.annotation)]
    return [key for each in candidates for key in each.model_fields]


def _kind(part: type[BaseModel]) -> Any:
    field = part.model_fields.get(KIND)
    return None if field is None else next(iter(get_args(field.annotation)), None)


def _parts_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models in `Model`, `Model | None`, `tuple[Model, ...]` or a union of kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inside in get_args(annotation) for found in _parts_in(inside)]
