"""`tokenfleet loadtest scenarios`: the scenarios that come with this package, a line each."""

import argparse

from loadtest.exit_status import PASS
from loadtest.scenario import known_scenarios, load_scenario


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(_: argparse.Namespace) -> int:
    for name in known_scenarios():
        scenario = load_scenario(name, "cpu")
        print(f"{name:15}{scenario.duration_s:6g} s  {scenario.description}")
    return PASS
