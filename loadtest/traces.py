"""Recorded loads, as lists of `TraceRequest`: when each came, and how long it and its answer were.

    mooncake   JSON lines: `timestamp` (ms), `input_length`, `output_length` (tokens), `hash_ids`:
               the prompt's blocks of 512 tokens; equal ids are equal blocks after equal ones
    azure      CSV with a header: TIMESTAMP (UTC, any fraction), ContextTokens, GeneratedTokens

Mooncake's timestamps fall on ticks of 3 s; `spread_ticks` spreads each tick's requests over it, by
a seed, and a replay without it has bursts that were never there. Instants count from the first
request. Formats: Mooncake (FAST '25) and Azure LLM inference trace 2023.

    ValueError
    └ TraceError    a line cannot be read: `file:line: what is wrong`
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from math import ceil, inf
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

MOONCAKE_BLOCK_TOKENS = 512
MOONCAKE_TICK_S = 3.0

Format = Literal["mooncake", "azure"]


class TraceError(ValueError):
    """A line of a trace cannot be read."""

    def __init__(self, source: str, line: int, message: str) -> None:
        super().__init__(source, line, message)
        self.source, self.line, self.message = source, line, message

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRequest:
    """One request. `block_ids` name the prompt's prefix blocks in order, the last one perhaps not
    full; empty where the trace does not say. `block_tokens` is how long one is, and may be a
    fraction after scaling."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    block_ids: tuple[int, ...] = ()
    block_tokens: float = MOONCAKE_BLOCK_TOKENS


class _MooncakeLine(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    timestamp: float = Field(ge=0)
    input_length: int = Field(ge=1)
    output_length: int = Field(ge=1)
    hash_ids: tuple[int, ...] = ()

    def request(self) -> TraceRequest:
        return TraceRequest(
            at_s=self.timestamp / 1000,
            prompt_tokens=self.input_length,
            output_tokens=self.output_length,
            block_ids=self.hash_ids,
        )


class _AzureLine(BaseModel):
    """Not strict: all of a CSV is text."""

    timestamp: datetime = Field(alias="TIMESTAMP")
    prompt_tokens: int = Field(alias="ContextTokens", ge=1)
    output_tokens: int = Field(alias="GeneratedTokens", ge=1)

    @field_validator("timestamp", mode="before")
    @classmethod
    def _parsed(cls, value: object) -> datetime:
        # Not pydantic's parser: it would take a bare number for seconds since 1970.
        parsed = datetime.fromisoformat(str(value))  # cuts a seventh digit off
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)

    def request(self) -> TraceRequest:
        return TraceRequest(
            at_s=self.timestamp.timestamp(),
            prompt_tokens=self.prompt_tokens,
            output_tokens=self.output_tokens,
        )


def read_trace(path: str | Path, form: Format) -> list[TraceRequest]:
    """A file's requests by rising instant, the first at 0. Raises OSError, TraceError."""
    # A byte that is no UTF-8 becomes a character that its line's parser refuses, with its number.
    with Path(path).open(encoding="utf-8", errors="replace", newline="") as lines:
        return PARSERS[form](lines, str(path))


def parse_mooncake(lines: Iterable[str], source: str) -> list[TraceRequest]:
    """`source` is what errors call the trace; blank lines are skipped. Raises TraceError."""
    requests, number = [], 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007 - the error names it
            if line.strip():
                requests.append(_MooncakeLine.model_validate_json(line).request())
    except ValidationError as error:
        raise TraceError(source, number, _said(error)) from None
    return _from_zero(requests)


def parse_azure(lines: Iterable[str], source: str) -> list[TraceRequest]:
    """`source` is what errors call the trace; blank lines are skipped. Raises TraceError."""
    reader = csv.DictReader(lines)
    try:
        _check_header(reader.fieldnames or (), source)
        return _from_zero([_AzureLine.model_validate(row).request() for row in reader])
    except ValidationError as error:
        raise TraceError(source, reader.line_num, _said(error)) from None
    except csv.Error as error:
        raise TraceError(source, reader.line_num + 1, str(error)) from None  # it counts whole lines


def _check_header(columns: Sequence[str], source: str) -> None:
    for field in _AzureLine.model_fields.values():
        if field.alias not in columns:
            raise TraceError(source, 1, f"no column {field.alias} among {list(columns)}")


PARSERS: dict[Format, Callable[[Iterable[str], str], list[TraceRequest]]] = {
    "mooncake": parse_mooncake,
    "azure": parse_azure,
}


def spread_ticks(requests: Iterable[TraceRequest], tick_s: float, seed: int) -> list[TraceRequest]:
    """Requests of the same instant spread evenly at random over the `tick_s` that follow it, in the
    order they had: a later turn stays behind the turn it continues."""
    rng = Random(f"ticks {seed}")
    spread = []
    for at_s, group in groupby(requests, key=lambda request: request.at_s):
        together = list(group)
        offsets_s = sorted(rng.random() * tick_s for _ in together)
        spread += [
            replace(request, at_s=at_s + offset_s)
            for request, offset_s in zip(together, offsets_s, strict=True)
        ]
    return sorted(spread, key=_instant)


def sped_up(requests: Iterable[TraceRequest], factor: float) -> list[TraceRequest]:
    """In 1 / `factor` of the time. Raises ValueError for a factor that is not above 0."""
    _check_positive("factor", factor)
    return [replace(request, at_s=request.at_s / factor) for request in requests]


def cut(requests: Iterable[TraceRequest], duration_s: float) -> list[TraceRequest]:
    """Those before `duration_s`."""
    return [request for request in requests if request.at_s < duration_s]


def scale_tokens(requests: Iterable[TraceRequest], factor: float) -> list[TraceRequest]:
    """All lengths times `factor`, at least 1 token: the same mix for a model with a shorter
    context, or a slower machine. Blocks keep their ids and are scaled with the rest, so what two
    prompts share stays the same part of them. Raises ValueError unless factor > 0."""
    _check_positive("factor", factor)
    return [
        replace(
            request,
            prompt_tokens=max(1, round(request.prompt_tokens * factor)),
            output_tokens=max(1, round(request.output_tokens * factor)),
            block_tokens=request.block_tokens * factor,
        )
        for request in requests
    ]


def cap_tokens(
    requests: Iterable[TraceRequest], *, prompt_tokens: int, output_tokens: int
) -> list[TraceRequest]:
    """Longer prompts and answers end at the given lengths, and lose the blocks beyond. Raises
    ValueError for a length below 1."""
    _check_positive("prompt_tokens", prompt_tokens)
    _check_positive("output_tokens", output_tokens)
    return [_capped(request, prompt_tokens, output_tokens) for request in requests]


def _capped(request: TraceRequest, prompt_tokens: int, output_tokens: int) -> TraceRequest:
    output_tokens = min(request.output_tokens, output_tokens)
    if request.prompt_tokens <= prompt_tokens:
        return replace(request, output_tokens=output_tokens)
    blocks = ceil(prompt_tokens / request.block_tokens)
    return replace(
        request,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        block_ids=request.block_ids[:blocks],
    )


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name} must be above 0 and finite, not {value}")


def _from_zero(requests: Sequence[TraceRequest]) -> list[TraceRequest]:
    """By rising instant, equal ones in the order of the file."""
    ordered = sorted(requests, key=_instant)
    # Seconds since 1970 have floats 0.24 us apart: rounding gives the trace's microseconds back.
    return [replace(r, at_s=round(r.at_s - ordered[0].at_s, 6)) for r in ordered]


def _instant(request: TraceRequest) -> float:
    return request.at_s


def _said(error: ValidationError) -> str:
    """The first thing that is wrong with a line."""
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return first["msg"]
    return f"{first['loc'][0]} {first['input']!r:.80}: {first['msg']}"
