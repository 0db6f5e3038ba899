"""The order of the tests, which stay together, and how long an example of a property may take.

`make test` runs two at a time (pytest-xdist). What needs the session's cluster (tests/integration)
stays in one process, which begins with it; a module that starts clusters of its own
(tests/integration/own_cluster) stays in one too; the rest is shared out at the end. In a single
process the quick ones come first.
"""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

try:
    from xdist.scheduler import LoadScopeScheduling
except ImportError:  # then there is one process
    LoadScopeScheduling = object

# As long as it needs: on a shared machine, or beside other processes, a slow example is chance.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

INTEGRATION = Path(__file__).parent / "integration"
OWN_CLUSTER = INTEGRATION / "own_cluster"


class ByCluster(LoadScopeScheduling):  # type: ignore[misc,valid-type]
    """Shares the tests out by what `_split_scope` says, which is there to be overridden."""

    def _split_scope(self, nodeid: str) -> str:
        module = INTEGRATION.parents[1] / nodeid.partition("::")[0]
        if INTEGRATION not in module.parents:
            return nodeid
        return str(module if OWN_CLUSTER in module.parents else INTEGRATION)


@pytest.hookimpl(optionalhook=True)  # it is xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByCluster:
    return ByCluster(config, log)


def _rank(item: pytest.Item) -> int:
    if INTEGRATION not in item.path.parents:
        return 0
    return 1 if OWN_CLUSTER in item.path.parents else 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if _rank(item):
            item.add_marker(pytest.mark.integration)
    items.sort(key=_rank, reverse=hasattr(config, "workerinput"))
