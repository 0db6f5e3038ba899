"""The master's side of a run: have it built, start it, watch it, write its folder, end it."""

import logging
import os
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event
from locust import argument_parser
from locust.env import Environment
from locust.runners import STATE_MISSING, LocalRunner

from loadtest.report_command import said, write_results
from loadtest.run_folder import RunFolderError
from loadtest.runtime import messages, progress
from loadtest.runtime.disturber import Disturber
from loadtest.runtime.facts import config_of, environment, found, instant
from loadtest.runtime.live import Tally
from loadtest.runtime.load import Load, LoadError
from loadtest.runtime.options import ADMIN_KEY_VARIABLE, bearer
from loadtest.runtime.run_state import RunState
from loadtest.runtime.run_writer import RunWriter, folder_of
from loadtest.runtime.staged_shape import begin, hold
from loadtest.runtime.worker import LoadOf, in_thread
from loadtest.server_metrics import Scraper

START_IN_S = 0.5  # for the last worker to hear of it
BUILD_TIMEOUT_S = 900.0
GRACE_S = 30.0  # for the end of a run, after its last request's own timeout
SCRAPE_EVERY_S = 1.0
LOOK_EVERY_S = 0.5  # whether a worker was lost

log = logging.getLogger(__name__)


class Conductor:
    def __init__(self, environment: Environment, load_of: LoadOf) -> None:
        self.state = RunState(0, {}, closed=True)  # there is none yet
        self._environment, self._load_of = environment, load_of
        self._runner = environment.runner
        self._writer: RunWriter | None = None
        self._faults: Disturber | None = None  # of the run in progress
        self._news = Event()  # something was heard of the workers
        runner = environment.runner
        runner.register_message(messages.READY, self._on_ready)
        runner.register_message(messages.REPORT, self._on_report)
        runner.register_message(messages.DONE, self._on_done)
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        environment.events.test_stop.add_listener(self._on_test_stop)
        environment.events.quitting.add_listener(self._on_quitting)

    @property
    def _headless(self) -> bool:
        return bool(self._environment.parsed_options.headless)

    # What Locust says

    def _on_test_start(self, **_: Any) -> None:
        self.state = RunState(self.state.number + 1, _ranks(self._runner))
        gevent.spawn(self._conduct, self.state)

    def _on_test_stopping(self, **_: Any) -> None:
        """Of a run that came to its end by itself, this is after its end."""
        if not self.state.closed:
            self.state.stopped = True
            self.state.problems.append("stopped before its end")

    def _on_test_stop(self, **_: Any) -> None:
        """Workers have ended their parts by now."""
        if not self.state.closed:
            self._close(self.state)

    def _on_quitting(self, **_: Any) -> None:
        if not self.state.closed:
            self._runner.stop()

    # What workers say

    def _on_ready(self, msg: Any, **_: Any) -> None:
        if (state := self._state_of(msg)) is not None:
            state.ready[msg.data["rank"]] = msg.data["sessions"]
            state.refused = state.refused or msg.data["error"]
            self._news.set()

    def _on_report(self, msg: Any, **_: Any) -> None:
        if (state := self._state_of(msg)) is not None and self._writer is not None:
            self._writer.requests(msg.data["lines"])
            tally = Tally.of_message(msg.data["tally"])
            state.whole.add(tally)
            state.recent.add(tally)

    def _on_done(self, msg: Any, **_: Any) -> None:
        if (state := self._state_of(msg)) is not None:
            cost = {key: round(msg.data[key], 3) for key in ("cpu_s", "waited_s")}
            state.done[msg.data["rank"]] = cost | {"sessions": state.ready.get(msg.data["rank"])}
            self._news.set()

    def _state_of(self, msg: Any) -> RunState | None:
        """The run in progress, if the message is of it."""
        is_now = msg.data["run"] == self.state.number and not self.state.closed
        return self.state if is_now else None

    # The run

    def _conduct(self, state: RunState) -> None:
        try:
            self._run(state)
        except LoadError as error:
            state.refused = str(error)
        if not (state.closed or state.stopped):
            try:
                self._close(state)
            finally:  # whatever happens to the report, the process must end
                self._runner.quit() if self._headless else self._runner.stop()

    def _run(self, state: RunState) -> None:
        options = self._environment.parsed_options
        options.host = self._environment.host
        load, aim = in_thread(found, self._load_of, options)
        hold(self._environment.shape_class, load)
        machine = environment()  # before the start: it takes a while
        if load.faults is not None:
            self._faults = Disturber(load.faults(aim))
            self._say(f"faults: {', '.join(self._faults.check())}")
        self._prepare(state, options)
        if state.closed:
            return
        self._say(f"{load.name}: {sum(state.ready.values())} sessions to {aim.model}")
        began_at_s = time.time() + START_IN_S
        path = folder_of(options.out, load.name, began_at_s)
        began = {"started_at": instant(began_at_s)}
        self._writer = RunWriter(path, config_of(load, aim), began | machine)
        self._tell(state, messages.GO, lambda _: {"at_s": began_at_s})
        if self._faults is not None:
            self._faults.begin(began_at_s, self._writer.mark, self._say)
        gevent.spawn_later(began_at_s - time.time(), begin, self._environment.shape_class)
        headers = bearer(os.environ.get(ADMIN_KEY_VARIABLE)) or aim.headers
        scraper = Scraper(aim.base_url, headers)
        scrape = gevent.spawn(self._scrape, self._writer, scraper, began_at_s)
        try:
            self._watch(state, load, began_at_s)
        finally:
            scrape.kill()

    def _prepare(self, state: RunState, options: Namespace) -> None:
        known = argument_parser.default_args_dict()
        own = {name: value for name, value in vars(options).items() if name not in known}
        about = {"workers": len(state.ranks), "host": options.host, "options": own}
        self._tell(state, messages.PREPARE, lambda rank: {"rank": rank, **about})
        self._wait(state, lambda: state.all_ready, BUILD_TIMEOUT_S, self._hold_shape)
        if state.refused is not None:
            raise LoadError(state.refused)
        if not state.all_ready or not state.ready:
            raise LoadError(f"no worker was ready within {BUILD_TIMEOUT_S:g} s")

    def _watch(self, state: RunState, load: Load, began_at_s: float) -> None:
        """Until every worker is done, or does not come to its end."""
        end_s = load.duration_s + load.timeout_s + GRACE_S
        said_at_s = 0.0
        while not (state.closed or state.all_done):
            at_s = time.time() - began_at_s
            if at_s > end_s:
                state.problems.append("workers did not end their parts")
                return
            self._wait(state, lambda: state.all_done, said_at_s + progress.EVERY_S - at_s)
            now_s = time.time() - began_at_s
            if self._headless and not state.closed:
                recent = state.take_recent()
                self._say(progress.line(now_s, state.whole, recent, now_s - said_at_s))
            said_at_s = now_s

    def _hold_shape(self) -> None:
        """A shape's time is that of the load, and stands still until the load begins."""
        if self._environment.shape_class is not None:
            self._environment.shape_class.reset_time()

    def _wait(
        self,
        state: RunState,
        met: Callable[[], bool],
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Until it is met, the run closed, or the time over."""
        until_s = time.monotonic() + timeout_s
        while not (met() or state.closed) and (left_s := until_s - time.monotonic()) > 0:
            self._news.clear()
            self._news.wait(min(left_s, LOOK_EVERY_S))
            meanwhile()
            state.lose(_present(self._runner))

    def _tell(
        self, state: RunState, message: str, data_of: Callable[[int], dict[str, Any]]
    ) -> None:
        for client_id, rank in state.ranks.items():
            data = {"run": state.number, **data_of(rank)}
            self._runner.send_message(message, data, client_id)

    def _scrape(self, writer: RunWriter, scraper: Scraper, began_at_s: float) -> None:
        gevent.sleep(max(0.0, began_at_s - time.time()))
        while scraper.useful:
            at_s = time.time() - began_at_s
            metrics = get_hub().threadpool.apply(scraper.scrape)
            if metrics:
                writer.server(at_s, metrics)
            gevent.sleep(SCRAPE_EVERY_S - (time.time() - began_at_s) % SCRAPE_EVERY_S)
        self._say(f"{scraper.base_url} has no metrics to record beside")

    # Its end

    def _close(self, state: RunState) -> None:
        state.closed = True
        self._news.set()
        if self._faults is not None:  # before the writer is closed: it may have marks yet
            state.problems += self._faults.end()
            self._faults = None
        self._environment.process_exit_code = state.exit_status
        if state.refused is not None:
            log.error(state.refused)
        if self._writer is not None:
            workers = [{"rank": rank, **cost} for rank, cost in sorted(state.done.items())]
            end = {"ended_at": instant(time.time()), "workers": workers}
            self._writer.close(end | {"problems": state.problems})
            self._say_result(self._writer.path)
            self._writer = None

    def _say_result(self, path: Path) -> None:
        """The run's verdict, and where its report is."""
        try:
            found = write_results(path)
        except (RunFolderError, OSError) as error:
            log.error(error)
            return
        self._say(said(path, found))

    def _say(self, what: str) -> None:
        print(what, flush=True)


def _ranks(runner: Any) -> dict[str, int]:
    """The workers of a run that begins now, by name."""
    if isinstance(runner, LocalRunner):
        return {"local": 0}
    return {name: rank for rank, name in enumerate(sorted(_present(runner)))}


def _present(runner: Any) -> set[str]:
    if isinstance(runner, LocalRunner):
        return {"local"}
    return {name for name, node in runner.clients.items() if node.state != STATE_MISSING}
