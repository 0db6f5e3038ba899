"""A run's folder, written while the run goes on: what was measured stays, whatever happens then."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from loadtest.run_records import CONFIG, ENVIRONMENT, MARKS, REQUESTS, SERVER

RUNS = Path("runs")


def new_folder(wanted: Path) -> Path:
    """`wanted`, made; with a number behind it where there is such a folder with something in it."""
    path, number = wanted, 1
    while path.exists() and any(path.iterdir()):
        number += 1
        path = wanted.with_name(f"{wanted.name}-{number}")
    path.mkdir(parents=True, exist_ok=True)
    return path


def folder_of(wanted: str | None, name: str, began_at_s: float) -> Path:
    """A new folder: `wanted`, else below `runs/` by `name` and time of day, in seconds of the
    epoch."""
    stamp = f"{datetime.fromtimestamp(began_at_s, UTC):%Y%m%d-%H%M%S}"
    return new_folder(Path(wanted) if wanted else RUNS / f"{name}-{stamp}")


class RunWriter:
    """Raises OSError where the folder cannot be written."""

    def __init__(
        self, path: Path, config: Mapping[str, Any], environment: Mapping[str, Any]
    ) -> None:
        self.path = path
        self._environment = dict(environment)
        self._requests = (path / REQUESTS).open("w", encoding="utf-8")
        self._others: dict[str, TextIO] = {}
        _write(path / CONFIG, config)
        _write(path / ENVIRONMENT, environment)

    def requests(self, lines: Iterable[str]) -> None:
        self._requests.writelines(f"{line}\n" for line in lines)
        self._requests.flush()

    def server(self, at_s: float, metrics: Mapping[str, float]) -> None:
        self._add(SERVER, {"at_s": round(at_s, 3), "metrics": metrics})

    def mark(self, mark: Mapping[str, Any]) -> None:
        self._add(MARKS, mark)

    def _add(self, name: str, row: Mapping[str, Any]) -> None:
        """A line. Makes its file when there is something to write: not every server has metrics,
        and not every load has faults."""
        if name not in self._others:
            self._others[name] = (self.path / name).open("w", encoding="utf-8")
        print(json.dumps(row, separators=(",", ":")), file=self._others[name], flush=True)

    def close(self, end: Mapping[str, Any]) -> None:
        """`end` is what is known of the environment only now."""
        _write(self.path / ENVIRONMENT, {**self._environment, **end})
        self._requests.close()
        for file in self._others.values():
            file.close()


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
