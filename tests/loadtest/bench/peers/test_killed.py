"""A run in which an engine is killed, against a fake server and processes titled like engines."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from loadtest.bench.peers.descendants import ENGINE_CORE
from loadtest.bench.peers.killed import KillPlan, run, seems_failed, since
from loadtest.bench.peers.rounds import order
from loadtest.bench.plan import Plan, Subject
from loadtest.bench.records import DuringRow, KillRow, from_json, to_json
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
        cores = [psutil.Process(process.pid) for process in (victim, other)]
        head, *rows = run(PLAN, KILL, Subject("fleet", endpoint), 5, cores)
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
    with engine() as victim, serving(server) as endpoint:
        rows = run(PLAN, KILL, Subject("bare", endpoint), 5, [psutil.Process(victim.pid)])
    assert len(rows) == 1 + KILL.streams == 1 + len(server.requests)


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


ORPHAN = f"""
import subprocess, sys
from loadtest.bench.peers.descendants import adopt_orphans, end_all, engine_cores

adopt_orphans()
engine = [{ENGINE_CORE!r}, "-c", "import signal; print('up', flush=True); signal.pause()"]
parent = f"import subprocess, sys; subprocess.Popen({{engine}}, executable=sys.executable)"
process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
process.wait()
assert process.stdout.readline() == b"up\\n"
[core] = engine_cores()
print(core.pid, flush=True)
end_all(within_s=10)
assert engine_cores() == []
"""


def test_an_engine_whose_parent_is_gone_is_found_and_ended() -> None:
    """In a process of its own: what it ends is all that it started."""
    done = subprocess.run([sys.executable, "-c", ORPHAN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"ending leftover {done.stdout.strip()}: {ENGINE_CORE}" in done.stderr
    assert not psutil.pid_exists(int(done.stdout))


def test_odd_rounds_go_backwards() -> None:
    assert [order(("a", "b", "c"), pair) for pair in range(2)] == [["a", "b", "c"], ["c", "b", "a"]]
