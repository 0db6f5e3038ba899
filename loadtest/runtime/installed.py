"""Hangs the runtime into Locust's events: a locustfile calls `install`, and has a LoadUser.

    install(load_of)

    class User(LoadUser):
        pass

`load_of` makes a Load of Locust's parsed options. Without `-u`, `-r` and `-t` a run has the load's
number of users and ends when the load does.
"""

import logging
import sys
from argparse import Namespace
from typing import Any

from locust import events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.runtime.conductor import Conductor
from loadtest.runtime.load import Load, LoadError
from loadtest.runtime.run_state import WRONG_INPUT
from loadtest.runtime.web_tab import add_tab
from loadtest.runtime.worker import LoadOf, Worker
from loadtest.streaming_user import StreamingUser

FASTEST_SPAWN_PER_S = 100  # Locust warns above


class LoadUser(StreamingUser):
    """Plays the sessions of this process's share."""

    abstract = True
    worker: Worker

    @task
    def work(self) -> None:
        self.worker.work(self)


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
    if environment.shape_class is not None:
        return
    if options.num_users is None:  # an open loop needs none, but Locust does
        options.num_users = load.users if load.mode == "closed" else options.expect_workers or 1
    if options.spawn_rate is None:
        options.spawn_rate = min(options.num_users, FASTEST_SPAWN_PER_S)
