"""The order of the tests."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the session's cluster comes last: the rest fails sooner, and has the machine to
    itself, which matters to those that start a cluster of their own."""
    items.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
