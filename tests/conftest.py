"""The order of the tests, and how long an example of a property may take."""

import pytest
from hypothesis import settings

# As long as it needs: on a shared machine, or beside other processes, a slow example is chance.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the session's cluster comes last: the rest fails sooner, and has the machine to
    itself, which matters to those that start a cluster of their own."""
    items.sort(key=lambda item: "fleet" in getattr(item, "fixturenames", ()))
