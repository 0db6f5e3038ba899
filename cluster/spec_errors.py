"""How violations of a spec are collected and worded.

    ValueError
    └ SpecError     the spec is wrong: `.violations` is every (key path, message)

pydantic finds most violations; `Violation`s are those it cannot see. Both come out in one list.
"""

import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

Location = tuple[int | str, ...]


class SpecError(ValueError):
    """The spec is wrong. One (key path, message) per violation; the path is empty for the file."""

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__(violations)
        self.violations = tuple(violations)

    def __str__(self) -> str:
        return "\n".join(
            f"{path}: {message}" if path else message for path, message in self.violations
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation, at `location` below whatever reports it."""

    location: Location
    message: str


def raise_all(title: str, found: Sequence[Violation]) -> None:
    """Raise all of `found` as one ValidationError, which pydantic merges into its own report."""
    if found:
        raise ValidationError.from_exception_data(title, [_init_details(v) for v in found])


def violations_of(error: ValidationError, root: type[BaseModel]) -> list[tuple[str, str]]:
    """Every violation in `error` as (key path, message), in the order of the fields of `root`."""
    return [(key_path(e["loc"]), _message(e, root)) for e in error.errors(include_url=False)]


def key_path(location: Location) -> str:
    """`("models", 0, "replicas")` as `models[0].replicas`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":  # pydantic's mark that the key itself is wrong
            path += f".{part}" if path else part
    return path


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The message for a key that does not exist, naming the nearest that does."""
    near = get_close_matches(key, list(known), n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _init_details(violation: Violation) -> InitErrorDetails:
    # The message travels as a value, not as the template: it may hold braces.
    error = PydanticCustomError("violation", "{message}", {"message": violation.message})
    return InitErrorDetails(type=error, loc=violation.location, input=None)


def _message(error: ErrorDetails, root: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        *above, key = error["loc"]
        return unknown_key(str(key), _keys_at(root, above))
    template = _WORDING.get(error["type"], "{input}: {msg}")
    return template.format(input=reprlib.repr(error["input"]), msg=error["msg"], **_context(error))


def _context(error: ErrorDetails) -> dict[str, Any]:
    return {k: v for k, v in error.get("ctx", {}).items() if k not in ("input", "msg")}


_WORDING = {
    "violation": "{message}",
    "value_error": "{error}",
    "missing": "required, and not given",
    "greater_than": "{input} must be above {gt}",
    "greater_than_equal": "{input} is below the minimum {ge}",
    "less_than": "{input} must be below {lt}",
    "less_than_equal": "{input} is above the maximum {le}",
    "string_pattern_mismatch": "{input} does not match {pattern}",
    "literal_error": "{input} is not one of {expected}",
}


def _keys_at(root: type[BaseModel], location: Sequence[int | str]) -> Iterable[str]:
    """The keys of the model at `location`, which may pass through a `tuple[Model, ...]`."""
    model: Any = root
    for part in location:
        if isinstance(part, str):
            annotation = model.model_fields[part].annotation
            model = get_args(annotation)[0] if get_args(annotation) else annotation
    return list(model.model_fields)
