"""`tokenfleet loadtest`: its subcommands, each imported only when it is asked for.

Exit status, alike for all: 0 done or passed, 1 an SLO was not met or nothing succeeded, 2 the run
is invalid, 3 wrong command line, scenario, run or server.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from loadtest.exit_status import USAGE, UsageParser, complain


@dataclass(frozen=True, slots=True)
class Subcommand:
    """`module` has `add_arguments` and `run`, or the names given."""

    module: str
    help: str
    add: str = "add_arguments"
    run: str = "run"


SUBCOMMANDS: Mapping[str, Subcommand] = {
    "run": Subcommand("runtime.launch", "send a scenario's load to a server", "add_run_arguments"),
    "search": Subcommand("search_command", "find the highest rate that meets an SLO"),
    "report": Subcommand("report_command", "write a run's summary and report again"),
    "compare": Subcommand("compare_command", "what changed between two runs, and what is noise"),
    "gate": Subcommand("gate_command", "hold a run to an SLO, for CI"),
    "scenarios": Subcommand("scenarios_command", "list the scenarios of this package"),
}


def main(arguments: Sequence[str]) -> int:
    """What comes after `tokenfleet loadtest`."""
    parser = UsageParser(prog="tokenfleet loadtest", description="Load tests that can be trusted.")
    commands = parser.add_subparsers(
        required=True, metavar="COMMAND", dest="command", parser_class=UsageParser
    )
    for name, each in SUBCOMMANDS.items():
        known = commands.add_parser(name, help=each.help)
        if arguments[:1] == [name]:
            try:
                module = import_module(f"loadtest.{each.module}")
            except ModuleNotFoundError as error:  # what it needs is an extra
                return complain(f"{error}: pip install 'tokenfleet[loadtest]'", USAGE)
            getattr(module, each.add)(known)
            known.set_defaults(run=getattr(module, each.run))
    args = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = args.run
    return run(args)
