"""Hangs the runtime into Locust's events: a locustfile calls `install`, and has a LoadUser.

    install(load_of)

    class User(LoadUser):
        pass

`load_of` makes a Load of Locust's parsed options. Without `-u`, `-r` and `-t` a run has the load's
number of users, or its stages as a LoadTestShape, and ends when the load does.
"""

import logging
import sys
from argparse import Namespace
from typing import Any

from locust import events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING

from loadtest.runtime.conductor import Conductor
from loadtest.runtime.load import Load, LoadError
from loadtest.runtime.run_state import WRONG_INPUT
from loadtest.runtime.staged_shape import install_shape
from loadtest.runtime.web_tab import add_tab
from loadtest.runtime.worker import LoadOf, Worker
from loadtest.streaming_user import StreamingUser

FASTEST_SPAWN_PER_S = 100  # Locust warns above


class LoadUser(StreamingUser):
    """Plays the sessions of this process's share."""

    abstract = True
    worker: Worker
    _state: str | None  # of the base class, which sets it

    @task
    def work(self) -> None:
        self.worker.work(self)

    def stop(self, force: bool = False) -> bool:
        """Of a stage with fewer users: once its session has ended, since a request that is cut
        would count as failed. Locust counts it no longer, and waits for nobody. At a run's end,
        and between two sessions: at once."""
        if self._state != LOCUST_STATE_RUNNING or not self.worker.let_go(self.greenlet):
            return bool(super().stop(force))
        self.group.discard(self.greenlet)
        self._state = LOCUST_STATE_STOPPING
        return False


def install(load_of: LoadOf) -> None:
    """`load_of` raises LoadError where the options name no load that can be sent. A scenario that
    is named on the command line is looked at at once, and ends the process with `WRONG_INPUT`."""

    def on_init(environment: Environment, runner: Any, web_ui: Any, **_: Any) -> None:
        if not isinstance(runner, MasterRunner):  # first: its share ends before the run does
            LoadUser.worker = Worker(environment, load_of)
        if not isinstance(runner, WorkerRunner):
            _set_defaults(environment, _load_or_exit(load_of, environment.parsed_options))
            conductor = Conductor(environment, load_of)
            if web_ui is not None:
                add_tab(web_ui, lambda: conductor.state.whole)

    events.init.add_listener(on_init)


def _load_or_exit(load_of: LoadOf, options: Namespace) -> Load:
    try:
        return load_of(options)
    except LoadError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(WRONG_INPUT)


def _set_defaults(environment: Environment, load: Load) -> None:
    options = environment.parsed_options
    # No tables, neither every two seconds nor at the end: `progress` has a line, the report exact
    # figures where Locust rounds.
    options.only_summary = True
    logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    install_shape(environment, load)
    if environment.shape_class is not None:
        return
    if options.num_users is None:  # an open loop needs none, but Locust does
        options.num_users = load.users if load.mode == "closed" else options.expect_workers or 1
    if options.spawn_rate is None:
        options.spawn_rate = min(options.num_users, FASTEST_SPAWN_PER_S)
