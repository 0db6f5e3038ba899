"""The order of the tests, which stay together, and how long an example of a property may take.

`make test` runs two at a time (pytest-xdist). What needs the session's cluster is one group, which
one process runs from the start; what starts clusters of its own is a group by module, for the
other; the rest is shared out in the end. Without xdist the quick ones come first.
"""

from pathlib import Path

import pytest
from hypothesis import settings

# As long as it needs: on a shared machine, or beside other processes, a slow example is chance.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

INTEGRATION = Path(__file__).parent / "integration"
SESSION_CLUSTER = "fleet"


def _group(item: pytest.Item) -> str | None:
    if INTEGRATION not in item.path.parents:
        return None
    return SESSION_CLUSTER if "fleet" in getattr(item, "fixturenames", ()) else item.path.stem


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    shared = config.pluginmanager.hasplugin("dsession") or hasattr(config, "workerinput")

    def rank(item: pytest.Item) -> int:
        group = _group(item)
        if group is None:
            return 0
        item.add_marker(pytest.mark.integration)
        item.add_marker(pytest.mark.xdist_group(group))
        return 2 if group == SESSION_CLUSTER else 1

    items.sort(key=rank, reverse=shared)
