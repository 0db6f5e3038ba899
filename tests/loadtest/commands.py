"""A load-test command, called as the command line calls it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from loadtest.exit_status import UsageParser


class Command(Protocol):
    """The module of a command."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def status_of(command: Command, *arguments: str | Path) -> int:
    """The exit status; a wrong command line raises SystemExit."""
    parser = UsageParser(prog="test")
    command.add_arguments(parser)
    return command.run(parser.parse_args(list(map(str, arguments))))
