"""One cluster for the whole session: two engines of `demo`, one of `demo-tp2` with two workers, and
one of `demo-embed`, which pools.
"""

from collections.abc import Iterator

import pytest

from serve_app import process_tree
from tests.integration.fleet import Fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A ready cluster. Engines killed by one test may still be starting in the next."""
    process_tree.adopt_orphans()  # what the launcher leaves behind becomes ours, and is seen
    others = set(process_tree.descendants())
    fleet = Fleet.start(tmp_path_factory.mktemp("fleet"))
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        printed = fleet.stop()
    left = set(process_tree.descendants()) - others
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"
    assert fleet.process.returncode == 0, printed
    assert "no process left" in printed


@pytest.fixture
def two_engines(fleet: Fleet) -> Fleet:
    """The cluster with both engines of `demo`, and all others, up and idle."""
    fleet.wait_until_whole()
    fleet.wait_for_active(0)
    fleet.wait_until_idle()
    return fleet
