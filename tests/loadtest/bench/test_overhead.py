"""The whole benchmark against fake servers, in a second."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.overhead import main
from loadtest.bench.records import CellRow, RequestRow, open_text, read_rows
from tests.loadtest.fake_server import DONE, FakeServer, delta, plain, response, saying, serving
from tests.loadtest.fake_server import usage as usage_event


async def model(body: dict[str, Any]) -> AsyncIterator[bytes]:
    """Says "a b c …", a word a token, one a chunk."""
    tokens = body["max_tokens"]
    words = itertools.repeat(delta(content="a "), tokens)
    prompt_tokens = 10 + 2 * len(body["messages"][0]["content"].split())
    for part in response(*words, usage_event(tokens, prompt_tokens), DONE):
        yield part


ARGUMENTS = ("--pairs", "2", "--streams", "1,4", "--requests-per-stream", "2", "--idle-s", "0")


def bench(*arguments: str) -> int:
    return main([*ARGUMENTS, "--output-tokens", "8", *arguments])


def test_a_run_against_two_running_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "rows.jsonl")
    with serving(FakeServer(model)) as bare, serving(FakeServer(model)) as fleet:
        urls = [f"http://{e.host}:{e.port}" for e in (bare, fleet)]
        assert bench("--url-bare", urls[0], "--url-fleet", urls[1], "--out", out) == 0
    with open_text(out, "rt") as file:
        rows = list(read_rows(file))
    cells = [(r.pair, r.streams, r.side) for r in rows if isinstance(r, CellRow)]
    assert cells == [
        *((0, 1, "bare"), (0, 1, "fleet"), (0, 4, "bare"), (0, 4, "fleet")),
        *((1, 1, "fleet"), (1, 1, "bare"), (1, 4, "fleet"), (1, 4, "bare")),
    ]
    samples = [r.sample for r in rows if isinstance(r, RequestRow)]
    assert len(samples) == 2 * 2 * (1 + 4) * 2
    assert {(s.error, s.output_tokens, s.prompt_tokens) for s in samples} == {(None, 8, 200)}
    report = capsys.readouterr().out
    assert "## Tokenfleet against bare vLLM" in report
    assert "same text on both sides: 16 of 16." in report


def test_one_server_as_both_sides_is_an_aa_test(capsys: pytest.CaptureFixture[str]) -> None:
    server = FakeServer(model)
    with serving(server) as endpoint:
        url = f"http://{endpoint.host}:{endpoint.port}"
        assert bench("--url-bare", url, "--url-fleet", url) == 0
    assert "## bare vLLM again against bare vLLM" in capsys.readouterr().out
    asked = [request["messages"][0]["content"] for request in server.requests]
    assert len(set(asked)) == len(asked)


def test_a_server_that_refuses_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    refusing = saying(plain("404 Not Found", b'{"error": {"message": "no such model"}}'))
    with serving(FakeServer(refusing)) as endpoint:
        url = f"http://{endpoint.host}:{endpoint.port}"
        assert bench("--url-bare", url, "--url-fleet", url) == 1
    assert "http 404: no such model" in capsys.readouterr().err


def test_nobody_there_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench("--url-bare", "http://127.0.0.1:1", "--url-fleet", "http://127.0.0.1:1") == 1
    assert "nobody lists models at 127.0.0.1:1" in capsys.readouterr().err


def test_a_wrong_spec_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert bench("--spec", "no-such-spec.yaml") == 2
    assert "no-such-spec.yaml" in capfd.readouterr().err
