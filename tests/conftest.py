"""The order of the tests, and which of them run one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

ALONE = ("tests/integration/", "tests/loadtest/")
"""Folders of tests that start clusters, or measure times: one process runs them, in this order."""


class OneAfterTheOther(LoadScopeScheduling):  # type: ignore[misc]
    """One process runs all tests of `ALONE`, the others share the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return "alone" if nodeid.startswith(ALONE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneAfterTheOther:
    return OneAfterTheOther(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What needs the session's cluster comes last: the rest fails sooner, and has the machine to
    itself, which matters to those that start a cluster of their own. Where several processes share
    the tests, those of `ALONE` begin at once, since nothing takes as long."""
    items.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folders = [item.nodeid.startswith(folder) for folder in ALONE]
    return folders.index(True) if any(folders) else len(ALONE)
