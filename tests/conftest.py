"""The order of the tests, and which of them run one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

INTEGRATION = Path(__file__).parent / "integration"


class ClustersInOneProcess(LoadScopeScheduling):  # type: ignore[misc]
    """One process runs all the tests with real clusters, the others share the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return "clusters" if nodeid.startswith("tests/integration/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ClustersInOneProcess:
    return ClustersInOneProcess(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs the session's cluster comes last: the rest fails sooner, and has the machine to
    itself, which matters to those that start a cluster of their own. Where several processes share
    the tests, those with clusters begin at once, since nothing takes as long."""
    items.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: INTEGRATION not in item.path.parents)
