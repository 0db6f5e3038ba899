"""Locust's web UI has the tab, and its rows are those of the run."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from loadtest.bench.servers import free_port
from tests.loadtest.runtime.planned import command, locust, session
from tests.loadtest.timed_server import timed_server


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The URL of the web UI, when the run that it began has ended."""
    port = free_port()
    options = ("--web-host", "127.0.0.1", "--web-port", str(port), "--autostart")
    with timed_server() as url:
        sessions = [session(n, chunks=5) for n in range(3)]
        argv = command(url, tmp_path, [*sessions, session(3, how="503")], *options)
        with locust(argv) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.endswith("report.html\n"):
                    break
            yield f"http://127.0.0.1:{port}"
            process.terminate()


def fetched(url: str, **form: Any) -> str:
    data = urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data) as response:
        text: str = response.read().decode()
        return text


def test_the_tab_has_a_row_for_each_thing_that_can_be_known_now(page: str) -> None:
    html = fetched(page)
    assert '"extended_tabs": [{"key": "tokenfleet", "title": "Tokenfleet"}]' in html
    (extended,) = json.loads(fetched(f"{page}/stats/requests"))["extended_stats"]
    rows = {row["name"]: row for row in extended["data"]}
    assert rows["TTFT"]["n"] == rows["TPOT"]["n"] == 3
    assert rows["ITL (of chunks)"]["n"] == 3 * 4
    assert 49 < rows["TTFT"]["p50"] < 500
    values = {name: rows[name]["value"] for name in ("In flight", "Offered", "Done", "Failed")}
    assert values == {"In flight": 0, "Offered": 4, "Done": 3, "Failed": 1}
    assert rows["Succeeded, of those that ended"]["value"] == "75.0%"
    columns = {cell for row in extended["data"] for cell in row}
    assert columns == {"name", "value", "p50", "p99", "n"}


def test_locusts_own_table_has_rows_for_ttft_and_tpot(page: str) -> None:
    stats = json.loads(fetched(f"{page}/stats/requests"))["stats"]
    counts = {(row["method"], row["name"]): row["num_requests"] for row in stats}
    assert counts["POST", "chat"] == 4
    assert counts["TTFT", "chat"] == counts["TPOT", "chat"] == 3
