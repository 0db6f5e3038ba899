"""A locustfile whose scenarios are files of sessions, as `planned.command` writes them."""

import json
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from locust import events

from loadtest.chaos.order import Order, order_of
from loadtest.runtime import progress
from loadtest.runtime.installed import LoadUser, install
from loadtest.runtime.load import Load, LoadError, PlainAim, Stage
from loadtest.runtime.options import KEY_VARIABLE, add_key_option, add_load_options
from tests.loadtest.runtime.planned import read_plan


def load_of(options: Namespace) -> Load:
    if not options.scenario:
        raise LoadError("--scenario is missing")
    settings, sessions = read_plan(options.scenario)
    return Load(
        name="planned",
        config={"scenario": settings | {"stages": None}},  # a scenario's look otherwise
        find=lambda host: PlainAim(host, "fake", {"X-Key": options.api_key or ""}),
        build=lambda _: sessions,
        **settings | {"faults": _faults(settings), "stages": _stages(settings)},
    )


def _stages(settings: dict[str, Any]) -> tuple[Stage, ...]:
    return tuple(Stage(**stage) for stage in settings.get("stages", ()))


def _faults(settings: dict[str, Any]) -> Callable[[PlainAim], Order] | None:
    """Of `{"faults": [...], "every_s": ...}`, a Load's."""
    if (asked := settings.get("faults")) is None:
        return None
    about = {**asked, "duration_s": settings["duration_s"], "seed": 0}
    return lambda aim: order_of(json.dumps({"url": aim.base_url, "model": aim.model, **about}))


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    add_load_options(parser, "--scenario")
    add_key_option(parser, env_var=KEY_VARIABLE)


progress.EVERY_S = 1.0
install(load_of)


class User(LoadUser):
    pass
