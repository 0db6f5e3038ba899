"""How the load-test commands end, for those who call them from CI."""

import argparse
import sys
from typing import NoReturn

PASS = 0
BREACH = 1
INVALID = 2  # the run measured something else than the server
USAGE = 3  # wrong command line, no such run, wrong SLO


class UsageParser(argparse.ArgumentParser):
    """Ends with `USAGE` where argparse would end with 2: here that is an invalid run. For
    `add_subparsers(parser_class=UsageParser)`."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: error: {message}\n")


def complain(error: Exception | str, status: int = USAGE) -> int:
    """Says on stderr what is wrong; returns the status."""
    print(error, file=sys.stderr)
    return status
