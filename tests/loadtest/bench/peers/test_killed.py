"""A run in which an engine is killed, against a fake server and a process with an engine's title."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loadtest.bench.peers.descendants import ENGINE_CORE, end_all, engine_cores
from loadtest.bench.peers.killed import KillPlan, run, seems_failed, since
from loadtest.bench.peers.rounds import order
from loadtest.bench.plan import Plan, Subject
from loadtest.bench.records import DuringRow, KillRow, from_json, to_json
from loadtest.bench.servers import ServerError
from loadtest.client import Endpoint
from loadtest.reply import RawReply
from tests.loadtest.bench.rows import sample
from tests.loadtest.fake_server import DONE, FakeServer, delta, plain, response, saying, serving
from tests.loadtest.fake_server import usage as usage_event

PLAN = Plan(
    model="demo",
    pairs=0,
    streams=(),
    requests_per_stream=None,
    prompt_tokens=20,
    output_tokens=1,
    timeout_s=5.0,
    idle_s=0.0,
    seed=0,
)
KILL = KillPlan(streams=2, run_s=0.3, timeout_s=5.0)


@contextmanager
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """A process titled as vLLM titles its EngineCore, once it runs."""
    command = [ENGINE_CORE, "-c", "import signal; print(flush=True); signal.pause()"]
    with subprocess.Popen(command, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_one_engine_dies_while_streams_go_on() -> None:
    good = saying(*response(delta(content="a"), usage_event(1), DONE))
    with engine() as victim, engine() as other, serving(FakeServer(good)) as endpoint:
        assert [core.pid for core in engine_cores()] == [victim.pid, other.pid]
        head, *rows = run(PLAN, KILL, Subject("fleet", endpoint), 2, words=5)
        assert victim.wait() == -signal.SIGKILL
        assert other.poll() is None
    assert isinstance(head, KillRow)
    assert head.killed.startswith(ENGINE_CORE)
    assert 0 < head.killed_at_s < head.last_sent_s
    during = [row for row in rows if isinstance(row, DuringRow)]
    assert len(during) == len(rows) > 2
    assert {row.sample.error for row in during} == {None}
    assert min(row.sample.t0_s for row in during) == 0
    assert all(from_json(to_json(row)) == row for row in [head, *rows])


def test_a_stream_that_is_refused_does_not_hammer() -> None:
    server = FakeServer(saying(plain("503 Service Unavailable", b"{}")))
    with engine(), serving(server) as endpoint:
        rows = run(PLAN, KILL, Subject("bare", endpoint), 1, words=5)
    assert len(rows) == 1 + KILL.streams == 1 + len(server.requests)


def test_an_engine_that_is_missing_is_said() -> None:
    with pytest.raises(ServerError, match=r"fleet: 2 EngineCore processes expected, not \[\]"):
        run(PLAN, KILL, Subject("fleet", Endpoint("127.0.0.1", 1)), 2, words=5)


@pytest.mark.parametrize(
    ("reply", "failed"),
    [
        (RawReply(0, 200, [(0, delta(content="a")), (1, DONE)]), False),
        (RawReply(0, 200, [(0, delta(content='an "error"'))]), False),
        (RawReply(0, 200, [(0, b'data: {"error": {"message": "gone"}}\n\n'), (1, DONE)]), True),
        (RawReply(0, 200, [], "disconnected"), True),
        (RawReply(0, 500), True),
    ],
)
def test_failures_are_told_without_decoding(reply: RawReply, failed: bool) -> None:
    assert seems_failed(reply) is failed


def test_instants_are_given_from_the_start() -> None:
    moved = since(100.0, sample(t_sched_s=101.0, t0_s=101.0, t1_s=102.0, tn_s=None))
    assert (moved.t_sched_s, moved.t0_s, moved.t1_s, moved.tn_s) == (1, 1, 2, None)


def test_what_is_left_is_ended(capfd: pytest.CaptureFixture[str]) -> None:
    with engine() as left:
        end_all(within_s=10)
        assert engine_cores() == []
    assert f"ending leftover {left.pid}: {ENGINE_CORE}" in capfd.readouterr().err


def test_odd_rounds_go_backwards() -> None:
    assert [order(("a", "b", "c"), pair) for pair in range(2)] == [["a", "b", "c"], ["c", "b", "a"]]
