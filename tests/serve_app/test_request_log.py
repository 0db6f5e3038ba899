"""The line that each request leaves in the gateway's log."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

from serve_app import request_log
from tests.serve_app.test_gateway_metrics_recorded import SERVED


def test_a_request_leaves_one_line_of_json(caplog):
    with caplog.at_level(logging.INFO, "tokenfleet"):
        request_log.log(SERVED)
    (record,) = caplog.records
    word, _, text = record.message.partition(" ")
    assert word == "request"
    assert json.loads(text) == {
        "id": "chatcmpl-1", "tenant": "search", "model": "m", "outcome": "served",
        "prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 5, "engine_s": 0.5, "attempts": 2,
        "waited_s": 0.1, "ttft_s": 0.2, "tpot_s": 0.05, "took_s": 1.0, "engines": ["a", "b"],
    }  # fmt: skip


def test_what_is_not_known_is_left_out():
    fields = request_log.fields(replace(SERVED, ttft_s=None, engines=(), outcome="refused"))
    assert "ttft_s" not in fields
    assert "engines" not in fields
    assert fields["outcome"] == "refused"


def test_a_log_that_is_turned_down_costs_nothing(caplog):
    with caplog.at_level(logging.WARNING, "tokenfleet.requests"):
        request_log.log(SERVED)
    assert caplog.records == []
