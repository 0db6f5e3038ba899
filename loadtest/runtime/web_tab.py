"""A tab "Tokenfleet" in Locust's web UI: latencies in tokens, requests in flight, missed arrivals.

Locust's page takes tabs and tables by `template_args`, and finds their rows in the answer of its
own `/stats/requests`, which it asks every two seconds.
"""

import json
from collections.abc import Callable
from typing import Any

from flask import Response, request

from loadtest.runtime.live import Histogram, Tally

KEY = "tokenfleet"
COLUMNS = (
    ("name", "Metric"),
    ("value", "Value"),
    ("p50", "p50 (ms)"),
    ("p99", "p99 (ms)"),
    ("n", "n"),
)

Row = dict[str, Any]


def add_tab(web_ui: Any, tally_of: Callable[[], Tally]) -> None:
    """Shows what `tally_of` gives, a tally since the run began."""
    structure = [{"key": key, "title": title} for key, title in COLUMNS]
    web_ui.template_args["extended_tabs"] = [{"title": "Tokenfleet", "key": KEY}]
    web_ui.template_args["extended_tables"] = [{"key": KEY, "structure": structure}]

    def extend(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            extended = [{"key": KEY, "data": rows(tally_of())}]
            response.set_data(json.dumps({**response.get_json(), "extended_stats": extended}))
        return response

    web_ui.app.after_request(extend)


def rows(tally: Tally) -> list[Row]:
    """Every row has every column: the page draws what is missing as an error."""
    ended = tally.done + tally.failed + tally.missed
    succeeded = f"{tally.done / ended:.1%}" if ended else ""
    return [
        _latency("TTFT", tally.ttft),
        _latency("TPOT", tally.tpot),
        _latency("ITL (of chunks)", tally.itl),
        _value("In flight", tally.in_flight),
        _value("Offered", tally.offered),
        _value("Done", tally.done),
        _value("Failed", tally.failed),
        _value("Missed arrivals", tally.missed),
        _value("Succeeded, of those that ended", succeeded),
        _value("Output tokens", tally.output_tokens),
        _attainment(tally),
    ]


def _latency(name: str, histogram: Histogram) -> Row:
    p50, p99 = histogram.percentile_ms(50), histogram.percentile_ms(99)
    return _row(name, p50=p50, p99=p99, n=histogram.counts.total())


def _attainment(tally: Tally) -> Row:
    """Of the requests so far, without the warm-up."""
    value = f"{tally.good / tally.judged:.1%}" if tally.judged else ""
    return _row("SLO attainment", value=value, n=tally.judged)


def _value(name: str, value: Any) -> Row:
    return _row(name, value=value)


def _row(name: str, **cells: Any) -> Row:
    filled = {key: value for key, value in cells.items() if value is not None}
    return {key: "" for key, _ in COLUMNS} | {"name": name} | filled
