"""The master's end of the process that disturbs the server: `loadtest/chaos/beside.py`."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from subprocess import PIPE, Popen
from typing import Any

import gevent

from loadtest.chaos.order import Order
from loadtest.runtime.load import LoadError

END_WITHIN_S = 10.0
Take = Callable[[dict[str, Any]], None]


class Disturber:
    """In this order: `check`, `begin`, `end`; `end` also after nothing but the start. Its session
    is its own: Ctrl-C is for the master, which then ends it."""

    def __init__(self, order: Order) -> None:
        self._process = Popen(
            [sys.executable, "-m", "loadtest.chaos.beside"],
            stdin=PIPE,
            stdout=PIPE,
            text=True,
            start_new_session=True,
        )
        self._reading: gevent.Greenlet | None = None
        self._tell(order.to_json())

    def check(self) -> list[str]:
        """The faults that will be done. Raises LoadError where they cannot be."""
        answer = json.loads(self._line() or '{"refused": "their process ended"}')
        if (why := answer.get("refused")) is not None:
            raise LoadError(
                f"the scenario's faults cannot be done: {why}. Without them: --set faults=null"
            )
        faults: list[str] = answer["faults"]
        return faults

    def begin(self, began_at_s: float, take: Take, say: Callable[[str], None]) -> None:
        """The load begins at that instant, in seconds of the epoch; `take` gets each mark."""
        self._tell(json.dumps({"began_at_s": began_at_s}))
        self._reading = gevent.spawn(self._read, take, say)

    def end(self) -> list[str]:
        """No more faults; a pause is ended. Returns what went wrong with them."""
        early = self._reading is not None and self._reading.ready()
        assert self._process.stdin is not None
        self._process.stdin.close()
        with gevent.Timeout(END_WITHIN_S, False):
            if self._reading is not None:
                self._reading.join()
            self._process.wait()
        if self._process.returncode is None:
            self._process.kill()
            return [f"the faults' process did not end within {END_WITHIN_S:g} s"]
        status = self._process.returncode
        return [f"the faults' process ended with {status}"] if early or status else []

    def _read(self, take: Take, say: Callable[[str], None]) -> None:
        while line := self._line():
            mark = json.loads(line)
            take(mark)
            say(f"{mark['at_s']:6.0f} s  {mark['kind']}: {mark['what']}")

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; who reads next, or ends it, says so
            print(line, file=self._process.stdin, flush=True)

    def _line(self) -> str:
        """Empty at the end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()
