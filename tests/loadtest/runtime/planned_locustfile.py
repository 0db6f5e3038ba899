"""A locustfile whose scenarios are files of sessions, as `planned.command` writes them."""

from argparse import Namespace
from typing import Any

from locust import events

from loadtest.runtime import progress
from loadtest.runtime.installed import LoadUser, install
from loadtest.runtime.load import Load, LoadError, PlainAim
from loadtest.runtime.options import KEY_VARIABLE, add_key_option, add_load_options
from tests.loadtest.runtime.planned import read_plan


def load_of(options: Namespace) -> Load:
    if not options.scenario:
        raise LoadError("--scenario is missing")
    settings, sessions = read_plan(options.scenario)
    return Load(
        name="planned",
        config={"scenario": settings},
        find=lambda host: PlainAim(host, "fake", {"X-Key": options.api_key or ""}),
        build=lambda _: sessions,
        **settings,
    )


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    add_load_options(parser, "--scenario")
    add_key_option(parser, env_var=KEY_VARIABLE)


progress.EVERY_S = 1.0
install(load_of)


class User(LoadUser):
    pass
