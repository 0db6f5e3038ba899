"""A worker's side of a run: build its share, warm up, begin with the others, report, end."""

import gc
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import gevent
from gevent import get_hub
from gevent.event import Event
from locust.env import Environment
from locust.exception import StopUser

from loadtest.bench.machine import waited_s
from loadtest.reply import RawReply
from loadtest.runtime import messages
from loadtest.runtime.connections import pool_of
from loadtest.runtime.load import Aim, Load, LoadError, share_of
from loadtest.runtime.reading import SWITCH_INTERVAL_S
from loadtest.runtime.share import Share
from loadtest.runtime.warm_up import warm_up
from loadtest.sessions import Session
from loadtest.streaming_user import StreamingUser

REPORT_EVERY_S = 1.0
T = TypeVar("T")
LoadOf = Callable[[Namespace], Load]

log = logging.getLogger(__name__)


class Worker:
    """Of the run in progress: `_order` is its PREPARE message, `_share` there once it is built."""

    def __init__(self, environment: Environment, load_of: LoadOf) -> None:
        self._environment, self._load_of = environment, load_of
        self._order: dict[str, Any] = {}
        self._share: Share | None = None
        self._user: StreamingUser | None = None  # sends the warm-up and the open loop
        self._warmed_up: list[tuple[Session, RawReply]] = []
        self._cost = 0.0, 0.0  # CPU time used, and waited for, before the load began
        self._began, self._ended = Event(), Event()
        self._greenlets: list[gevent.Greenlet] = []
        runner = environment.runner
        runner.register_message(messages.PREPARE, self._on_prepare)
        runner.register_message(messages.GO, self._on_go)
        environment.events.test_stopping.add_listener(self._on_test_stopping)
        environment.events.test_stop.add_listener(self._on_test_stop)
        environment.events.quitting.add_listener(self._on_quitting)

    def work(self, user: StreamingUser) -> None:
        """What a Locust user does: a session of the closed loop; in an open loop there is nothing
        for it to do. Raises StopUser where the run is over."""
        self._began.wait()
        share = self._share
        if share is not None and share.load.mode == "open":
            self._ended.wait()
        session = None if share is None else share.next_session()
        if share is None or session is None:
            raise StopUser
        share.play(user, session)

    def let_go(self, user: gevent.Greenlet) -> bool:
        """Waits for a user that Locust sends away during a run, at the run's end at the latest;
        False where there is no run, or it is being stopped."""
        return self._share is not None and self._began.is_set() and self._share.let_go(user)

    # Before the start

    def _on_prepare(self, msg: Any, **_: Any) -> None:
        self._order, self._share = msg.data, None
        self._began.clear()
        self._ended.clear()
        self._greenlets = [gevent.spawn(self._prepare, msg.data)]

    def _prepare(self, order: dict[str, Any]) -> None:
        try:
            count = self._build(order)
        except LoadError as error:
            self._send(messages.READY, sessions=0, error=str(error))
        else:
            self._send(messages.READY, sessions=count, error=None)

    def _build(self, order: dict[str, Any]) -> int:
        """How many sessions the share has. Raises LoadError."""
        options = Namespace(**{**vars(self._environment.parsed_options), **order["options"]})
        options.host = self._environment.host = order["host"]
        # In a thread: it takes seconds of CPU, and a worker that is silent counts as lost.
        load, aim, sessions = in_thread(built, self._load_of, options)
        mine = share_of(sessions, order["rank"], order["workers"])
        connections = load.connections(order["workers"])
        StreamingUser.pool_manager = pool_of(connections)
        StreamingUser.host = aim.base_url
        self._user = StreamingUser(self._environment)
        self._warmed_up = warm_up(self._user, load, aim, mine, connections)
        self._share = Share(load, aim, mine, order["rank"], connections)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # many thousand prompts that no later collection need look at
        return len(mine)

    # The run

    def _on_go(self, msg: Any, **_: Any) -> None:
        if self._share is not None and msg.data["run"] == self._order["run"]:
            began_s = time.monotonic() + msg.data["at_s"] - time.time()
            run = gevent.spawn(self._run, self._share, began_s)
            self._greenlets = [run, gevent.spawn(self._report)]

    def _run(self, share: Share, began_s: float) -> None:
        self._cost = time.process_time(), waited_s()
        share.start(began_s, self._warmed_up)
        self._began.set()
        if share.load.mode == "open" and self._user is not None:
            share.start_dispatch(self._user)
        share.join()
        self._finish()

    def _report(self) -> None:
        while self._share is not None:
            gevent.sleep(REPORT_EVERY_S)
            self._send_report(self._share)

    def _on_test_stopping(self, **_: Any) -> None:
        if self._share is not None:
            self._share.stop()

    def _on_test_stop(self, **_: Any) -> None:
        """Locust has ended the users: of a run that is not over, this is the end."""
        gevent.killall(self._greenlets, block=False)
        self._finish()

    def _on_quitting(self, **_: Any) -> None:
        """Before Locust tells the master that this worker is gone."""
        if self._share is not None:
            self._environment.runner.stop()

    def _finish(self) -> None:
        share, self._share = self._share, None
        self._began.set()
        self._ended.set()
        if share is not None:
            self._send_report(share)
            cpu_s, waits_s = time.process_time() - self._cost[0], waited_s() - self._cost[1]
            self._send(messages.DONE, cpu_s=cpu_s, waited_s=waits_s)
            share.close()

    def _send_report(self, share: Share | None) -> None:
        if share is not None:
            self._send(messages.REPORT, **share.ledger.take())

    def _send(self, message: str, **data: Any) -> None:
        about = {"run": self._order["run"], "rank": self._order["rank"]}
        self._environment.runner.send_message(message, about | data)


def built(load_of: LoadOf, options: Namespace) -> tuple[Load, Aim, Sequence[Session]]:
    """The whole load, for the server that the options name. Raises LoadError."""
    load = load_of(options)
    aim = load.find(options.host)
    return load, aim, load.build(aim)


def in_thread(work: Callable[..., T], *args: Any) -> T:
    """What `work` returns, done beside the event loop. Raises LoadError for whatever it raises."""
    result = get_hub().threadpool.apply(_caught, (work, args))
    if isinstance(result, LoadError):
        raise result
    return result


def _caught(work: Callable[..., T], args: tuple[Any, ...]) -> T | LoadError:
    try:
        return work(*args)
    except LoadError as error:
        return error
    except Exception as error:  # a thread of gevent's pool would print it, and nobody would know
        log.exception("the load could not be built")
        return LoadError(f"{type(error).__name__}: {error}")
