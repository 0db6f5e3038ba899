"""What a run's folder says of it besides its requests: what was run, and on what."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from loadtest.bench import machine
from loadtest.runtime.load import Aim, Load, LoadError

VERSIONS = ("tokenfleet", "locust", "requests", "urllib3", "gevent")
HIDDEN = "--api-key"


def found(load_of: Callable[[Namespace], Load], options: Namespace) -> tuple[Load, Aim]:
    """The load and the server it is for. Raises LoadError."""
    if not options.host:
        raise LoadError("--host says which server to load, as http://host:port")
    load = load_of(options)
    return load, load.find(options.host)


def environment() -> dict[str, Any]:
    """This machine and its versions. Not to be called in a thread: it starts a process, and gevent
    can wait for one in the main thread only."""
    installed = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
    versions = {name: installed[name] for name in VERSIONS if name in installed}
    return {"machine": machine.describe(), "versions": versions}


def config_of(load: Load, aim: Aim) -> dict[str, Any]:
    command = shlex.join(["locust", *shown(sys.argv[1:])])
    return {**load.config, "target": aim.base_url, "model": aim.model, "command": command}


def instant(at_s: float) -> str:
    """A time of day for people, from seconds of the epoch."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def shown(argv: list[str]) -> list[str]:
    """A command line without its API key."""
    words, hide = [], False
    for word in argv:
        option, equals, _ = word.partition("=")
        words.append("***" if hide else f"{option}=***" if option == HIDDEN and equals else word)
        hide = word == HIDDEN
    return words
