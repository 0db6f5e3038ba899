"""A locustfile that sends the sessions of a file: `--plan FILE`, as `planned.Plan` writes it."""

from argparse import Namespace
from typing import Any

from locust import events

from loadtest.runtime.installed import LoadUser, install
from loadtest.runtime.load import Load, LoadError, PlainAim
from tests.loadtest.runtime.planned import read_plan


def load_of(options: Namespace) -> Load:
    if not options.plan:
        raise LoadError("--plan is missing")
    settings, sessions = read_plan(options.plan)
    return Load(
        name="planned",
        config={"scenario": settings},
        find=lambda host: PlainAim(host, "fake"),
        build=lambda _: sessions,
        **settings,
    )


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    parser.add_argument("--plan")
    parser.add_argument("--out")


install(load_of)


class User(LoadUser):
    pass
