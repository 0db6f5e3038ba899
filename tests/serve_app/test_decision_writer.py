"""The decision log as it is written: lines that can be read back, and that stop nothing."""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

import pytest

from cluster.routing.decision_log import loads
from cluster.routing.least_load import LeastOutstandingTokens
from cluster.spec import RoutingSpec
from cluster.types import ReplicaId, ReplicaSnapshot, RouteRequest
from serve_app.decision_writer import DecisionWriter

SEEN = [ReplicaSnapshot(id=ReplicaId(name), outstanding_tokens=n) for n, name in enumerate("ab")]


def request(prompt_tokens: int = 10, blocks: int = 0) -> RouteRequest:
    return RouteRequest(
        prompt_tokens=prompt_tokens,
        max_output_tokens=5,
        blocks=list(range(2**63, 2**63 + blocks)),
        affinity_key="the client's session",
    )


def write(writer: DecisionWriter, asked: RouteRequest) -> None:
    writer(asked, SEEN, LeastOutstandingTokens().choose(asked, SEEN, random.Random(0)))


def records(path: Path) -> list:
    return [loads(line) for line in path.read_text().splitlines()]


def test_a_decision_is_read_back_as_it_was_made(tmp_path):
    path = tmp_path / "decisions.jsonl"
    writer = DecisionWriter(path, "least_load", 1.0)
    for tokens in (10, 20):
        write(writer, request(tokens, blocks=3))
    first, second = records(path)
    assert (first.policy, first.replicas) == ("least_load", tuple(SEEN))
    assert (first.request.prompt_tokens, second.request.prompt_tokens) == (10, 20)
    assert first.request.blocks == (2**63, 2**63 + 1, 2**63 + 2)
    assert first.decision.replica_id == "a"
    assert first.at_unix_s <= second.at_unix_s
    assert "the client's session" not in path.read_text()


@pytest.mark.parametrize(
    ("frac", "least", "most"), [(0.0, 0, 0), (0.25, 180, 320), (1.0, 1000, 1000)]
)
def test_a_share_of_the_decisions_is_written(tmp_path, frac, least, most):
    path = tmp_path / "decisions.jsonl"
    path.touch()
    writer = DecisionWriter(path, "least_load", frac)
    writer._sample = random.Random(7)
    for _ in range(1000):
        write(writer, request())
    assert least <= len(records(path)) <= most


def test_several_gateways_may_add_to_one_file(tmp_path):
    """Lines of 20 kB, far above what files buffer."""
    path = tmp_path / "decisions.jsonl"

    def gateway() -> None:
        writer = DecisionWriter(path, "least_load", 1.0)
        for _ in range(30):
            write(writer, request(blocks=1000))

    threads = [threading.Thread(target=gateway) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(record.request.blocks) for record in records(path)] == [1000] * 120


@pytest.mark.parametrize("path", ["", "no/such/folder"], ids=["a folder", "in no folder"])
def test_a_file_that_cannot_be_written_is_said_once_and_stops_nothing(tmp_path, path, caplog):
    writer = DecisionWriter(tmp_path / path, "least_load", 1.0)
    with caplog.at_level(logging.ERROR, "tokenfleet.gateway"):
        for _ in range(3):
            write(writer, request())
    (said,) = caplog.messages
    assert "routing.decision_log" in said
    assert str(tmp_path / path) in said


def test_the_spec_says_whether_and_how_much(tmp_path):
    assert DecisionWriter.of(RoutingSpec()) is None
    path = tmp_path / "decisions.jsonl"
    spec = RoutingSpec(policy="random", decision_log=str(path), decision_log_frac=1.0)
    write(DecisionWriter.of(spec), request())
    assert [record.policy for record in records(path)] == ["random"]
