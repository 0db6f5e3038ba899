"""A progress bar on stderr: one line, drawn anew a few times a second, where a terminal shows it.

Elsewhere (a file, CI) one line when a run is over.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

EVERY_S = 0.2
WIDTH = 30


class Bar:
    """For one run, of which `show` is told how far it is."""

    def __init__(self, name: str, out: TextIO | None = None) -> None:
        self._name = name
        self._out = out or sys.stderr
        self._begun_s = time.monotonic()
        self._shown_s = self._begun_s
        self._over = self._total = 0

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._out.isatty():
            self._out.write("\r\x1b[K")
        if error is None:
            took_s = time.monotonic() - self._begun_s
            self._out.write(f"{self._name}: {self._over:,} requests in {took_s:.1f} s\n")
        self._out.flush()

    def show(self, over: int, total: int) -> None:
        """So many of so many requests are over."""
        self._over, self._total = over, total
        now_s = time.monotonic()
        if now_s - self._shown_s >= EVERY_S and self._out.isatty():
            self._shown_s = now_s
            self._out.write("\r" + line(self._name, over, total))
            self._out.flush()


def line(name: str, over: int, total: int) -> str:
    done = WIDTH * over // total
    return f"{name} [{'#' * done}{'.' * (WIDTH - done)}] {over:,}/{total:,}"
