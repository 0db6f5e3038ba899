"""The order of the tests, which stay together, and how long an example of a property may take.

The quick ones come first, two at a time where pytest-xdist is told so (`make test`); then those
with real clusters, one after the other in one process, so that they have the machine to themselves;
last of them what needs the session's cluster.
"""

import gc
import logging
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

# As in a gateway: what vLLM imports for some routes sets the root logger's to ERROR.
logging.getLogger("tokenfleet").setLevel(logging.INFO)

ROOT = Path(__file__).parents[1]
INTEGRATION = ROOT / "tests" / "integration"


class ClustersTogether(LoadScopeScheduling):  # type: ignore[misc,valid-type]
    """Gives all of tests/integration to one process; `_split_scope` is there to be overridden."""

    def _split_scope(self, nodeid: str) -> str:
        module = ROOT / nodeid.partition("::")[0]
        return "integration" if INTEGRATION in module.parents else nodeid


@pytest.hookimpl(optionalhook=True)  # it is xdist's
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ClustersTogether:
    config.option.loadscopereorder = False  # the largest scope is to come last
    return ClustersTogether(config, log)


def _rank(item: pytest.Item) -> int:
    if INTEGRATION not in item.path.parents:
        return 0
    return 2 if "fleet" in getattr(item, "fixturenames", ()) else 1


# Modules that are imported and tests that are collected stay: looking for garbage among them time
# and again takes a fifth of the time until the first test.
gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()  # Python looks through everything again when a quarter as much has come since
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _rank(item):
            item.add_marker(pytest.mark.integration)
    items.sort(key=_rank)
