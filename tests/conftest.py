"""The order of the tests, and which of them run one after the other."""

from pathlib import Path

import pytest

INTEGRATION = Path(__file__).parent / "integration"
CLUSTER = "cluster"
"""The group of the tests with real clusters: one process runs them, another all the rest."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs the session's cluster comes last: the rest fails sooner, and has the machine to
    itself, which matters to those that start a cluster of their own. Where several processes share
    the tests, those with clusters begin at once, since nothing takes as long."""
    items.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: INTEGRATION not in item.path.parents)
        for item in items:
            if INTEGRATION in item.path.parents:
                item.add_marker(pytest.mark.xdist_group(CLUSTER))
