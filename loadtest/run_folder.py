"""A run's folder, read back; what is in it says `loadtest/run_records.py`.

`config.json`, `environment.json` and `requests.jsonl` must be there: a run without them cannot be
told from another. `server.jsonl` and `marks.jsonl` may be missing: not every server has metrics,
and not every run disturbs it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from loadtest import run_records
from loadtest.run_records import RequestRecord

T = TypeVar("T")


class RunFolderError(Exception):
    """A run's folder cannot be used; the message names the file, the line and the reason."""


class EmptyRunError(RunFolderError):
    """The run measured nothing."""


@dataclass(frozen=True, slots=True)
class ServerSample:
    """The server's own metrics at one instant, by sample name with its labels."""

    at_s: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that was done to the server: what kind of fault, and to whom, in words. `end_s` is
    the end of what lasted, as a pause does."""

    at_s: float
    kind: str
    what: str
    end_s: float | None = None

    @property
    def text(self) -> str:
        """`12.3 to 15.8 s: pause-host: host 7 of engine a`."""
        until = "" if self.end_s is None else f" to {self.end_s:,.1f}"
        return f"{self.at_s:,.1f}{until} s: {self.kind}: {self.what}"


def counted(marks: Iterable[Mark]) -> dict[str, int]:
    """How many there are of each kind, the most frequent first."""
    return dict(Counter(mark.kind for mark in marks).most_common())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """`records` in the order in which the requests ended, warm-up ones among them."""

    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    records: list[RequestRecord]
    server: list[ServerSample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def measured(self) -> list[RequestRecord]:
        """The records without those of the warm-up."""
        return run_records.measured(self.records)

    @property
    def faults(self) -> dict[str, int]:
        """How often each kind was done to the server, the most frequent first."""
        return counted(self.marks)

    @classmethod
    def read(cls, path: Path) -> "RunFolder":
        """Raises RunFolderError for what is missing or broken, EmptyRunError without a request."""
        if not path.is_dir():
            raise RunFolderError(f"{path} is not the folder of a run: no such folder")
        records = _lines(path / run_records.REQUESTS, run_records.from_json)
        if not run_records.measured(records):
            raise EmptyRunError(f"{path / run_records.REQUESTS} holds no measured request")
        return cls(
            path=path,
            config=_object(path / run_records.CONFIG),
            environment=_object(path / run_records.ENVIRONMENT),
            records=records,
            server=_lines(path / run_records.SERVER, _server_sample, optional=True),
            marks=_lines(path / run_records.MARKS, _mark, optional=True),
        )


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise RunFolderError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise RunFolderError(f"{path} must hold an object, not {found!r:.40}")
    return found


def _lines(path: Path, parse: Callable[[str], T], *, optional: bool = False) -> list[T]:
    if optional and not path.exists():
        return []
    parsed: list[T] = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            parsed.append(parse(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}"
            raise RunFolderError(f"{path} line {number} cannot be read: {what}") from error
    return parsed


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error


def _server_sample(line: str) -> ServerSample:
    fields = json.loads(line)
    metrics = {str(name): float(value) for name, value in fields["metrics"].items()}
    return ServerSample(float(fields["at_s"]), metrics)


def _mark(line: str) -> Mark:
    fields = json.loads(line)
    end_s = fields.get("end_s")
    return Mark(
        at_s=float(fields["at_s"]),
        kind=str(fields["kind"]),
        what=str(fields["what"]),
        end_s=None if end_s is None else float(end_s),
    )
