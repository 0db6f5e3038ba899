"""The switch and the engine host over their real sockets, with a core that answers at once."""

from __future__ import annotations

import asyncio
import os
import time

import pytest
from vllm.v1.engine import FinishReason

from cluster import stall
from serve_app.engine_address import EngineAddress
from serve_app.wire_security import KeyPair
from tests.serve_app.builders import request
from tests.serve_app.fake_core import HostThread, continuation
from tests.serve_app.switch_fleet import PROMPT, Fleet, with_a_stream
from tests.waiting import until


@pytest.fixture
def fleet():
    fleet = Fleet()
    yield fleet
    fleet.close()


def test_the_api_server_is_given_an_engine_s_own_ready_message(fleet):
    fleet.start("a")
    assert fleet.attach() == b"ready of a"


def test_a_request_is_answered(fleet):
    fleet.start("a")
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)


@pytest.mark.parametrize("how", ["kill", "leave", "core dies"])
@pytest.mark.parametrize("sampling", [{}, {"presence_penalty": 1.0}], ids=["prefill", "replay"])
def test_a_stream_goes_on_when_its_engine_is_lost(fleet, how, sampling):
    fleet.start("a", "b", steps_allowed=5)
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20, **sampling))
    fleet.front.read_until_tokens("r", 5)
    lost = fleet.running()
    for host in fleet.hosts.values():
        if host is not lost:
            host.call(lambda host=host: host.core.allow(None))
    {"kill": lost.kill, "leave": lost.leave, "core dies": lambda: lost.call(lost.core.die)}[how]()
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert fleet.front.longest_gap_s < 2.0


def test_a_stream_waits_for_an_engine_that_joins_later(fleet):
    with_a_stream(fleet, "a")
    fleet.hosts.pop("a").close()
    fleet.start("b")
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)


def test_an_engine_that_serve_removes_loses_its_requests_to_the_others(fleet):
    removed = with_a_stream(fleet, "a", "b")
    del fleet.hosts[removed.engine_id]
    fleet.announce()
    (left,) = fleet.hosts.values()
    left.call(lambda: left.core.allow(None))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    until(lambda: removed.call(lambda: removed.core.running == {}))
    removed.close()


def state_of(fleet, host: HostThread) -> list[str]:
    """What `GET /fleet` calls it; empty where it is not shown."""
    rows = fleet.switch.snapshot()["engines"]
    return [row["state"] for row in rows if row["id"] == host.engine_id]


def test_a_draining_host_is_empty_as_soon_as_its_streams_have_moved(fleet):
    leaving = with_a_stream(fleet, "a", "b")
    drained = leaving.drain()
    assert drained.result(5) is True
    assert leaving.call(lambda: leaving.core.running) == {}
    assert state_of(fleet, leaving) == ["leaving"]
    assert fleet.switch.ready_engines() == 1
    (taker,) = [host for host in fleet.hosts.values() if host is not leaving]
    taker.call(lambda: taker.core.allow(None))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert fleet.switch.snapshot()["flights"] == {"active": 0, "moved": 1, "failed": 0}


def test_a_draining_host_finishes_what_has_nowhere_to_go(fleet):
    leaving = with_a_stream(fleet, "a")
    drained = leaving.drain()
    until(lambda: state_of(fleet, leaving) == ["leaving"])
    assert not drained.done()
    leaving.call(lambda: leaving.core.allow(None))
    assert drained.result(5) is True
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert fleet.switch.snapshot()["flights"]["moved"] == 0


@pytest.mark.parametrize("_", range(10))  # aborts that cross the farewell had it lost in one of 3
def test_a_farewell_arrives_while_the_last_requests_are_taken_away(fleet, _):
    leaving = with_a_stream(fleet, "a", "b")

    async def leave() -> None:
        await leaving.host.drain("scaled down", timeout_s=5)
        await leaving.host.stop("removed")

    leaving.await_there(leave())
    until(lambda: fleet.row(leaving.engine_id)["state"] in ("down", "connecting"))
    assert fleet.switch.snapshot()["losses"]["last"] is None


def test_draining_ends_at_its_timeout(fleet):
    assert with_a_stream(fleet, "a").drain(timeout_s=0.05).result(5) is False


def test_a_switch_that_connects_to_a_draining_host_sends_it_nothing_new(fleet):
    fleet.start("a")
    assert fleet.hosts["a"].drain().result(5) is True
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20))
    fleet.start("b")
    fleet.front.read_until_finished("r")
    assert fleet.hosts["a"].core.added == []


def test_an_engine_that_serve_no_longer_lists_finishes_what_has_nowhere_to_go(fleet):
    removed = with_a_stream(fleet, "a")
    del fleet.hosts["a"]
    fleet.announce()
    until(lambda: state_of(fleet, removed) == ["leaving"])
    removed.call(lambda: removed.core.allow(None))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    removed.leave()
    until(lambda: state_of(fleet, removed) == [])
    removed.close()


def test_an_engine_that_serve_lists_again_takes_requests_again(fleet):
    fleet.start("a")
    fleet.attach()
    hosts, fleet.hosts = fleet.hosts, {}
    fleet.announce()
    until(lambda: fleet.switch.ready_engines() == 0)
    fleet.hosts = hosts
    fleet.announce()
    fleet.front.add(request("r", max_tokens=20))
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)


def test_an_engine_that_takes_no_step_loses_its_streams_and_says_why(fleet):
    stuck = with_a_stream(fleet, "a", stall_timeout_s=0.3)
    fleet.start("b")
    fleet.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 20)
    assert "with 1 requests running" in stuck.host.failure


def test_an_engine_learns_its_step_time_from_requests_of_one_step_too(fleet, monkeypatch):
    fleet.start("a", steps_allowed=0)
    fleet.attach()
    host = fleet.hosts["a"]
    fleet.front.add(request("r", max_tokens=1))
    until(lambda: host.core.running)
    host.call(lambda: host.core.allow(1))
    fleet.front.read_until_finished("r")
    monkeypatch.setattr(stall, "FLOOR_S", 0.0)
    until(lambda: host.call(lambda: host.clock.limit_s) > 0)


@pytest.mark.parametrize(
    ("stop", "go"), [("sleep", "wake_up"), ("pause_scheduler", "resume_scheduler")]
)
def test_an_engine_that_was_told_to_stand_still_is_not_stuck_until_it_may_go_on(fleet, stop, go):
    fleet.start("a", steps_allowed=0, stall_timeout_s=0.3)
    fleet.attach()
    host = fleet.hosts["a"]
    fleet.front.call(1, stop, 1)
    fleet.front.add(request("r"))
    until(lambda: host.core.added)
    time.sleep(1.0)  # three limits
    assert host.host.failure is None
    fleet.front.call(2, go)
    until(lambda: host.host.failure)


def stuck_in_calls(fleet, name: str) -> HostThread:
    """An engine whose core answers no call."""

    async def never(method, *args):
        await asyncio.Event().wait()

    fleet.start(name, steps_allowed=0, stall_timeout_s=0.3)
    host = fleet.hosts[name]
    host.core.call_utility_async = never
    return host


def test_an_engine_that_does_not_answer_a_quick_call_is_stuck_and_another_answers(fleet):
    stuck = stuck_in_calls(fleet, "a")
    fleet.start("b")
    until(lambda: fleet.switch.ready_engines() == 2)
    fleet.attach()
    answer = fleet.front.call(1, "get_supported_tasks")  # the first engine by name is asked
    assert answer.failure_message is None
    assert "0 requests running, 1 calls not answered" in stuck.host.failure


def test_a_quick_call_does_not_hide_that_no_step_comes(fleet):
    stuck = stuck_in_calls(fleet, "a")
    fleet.attach()
    fleet.front.add(request("r", max_tokens=20))
    until(lambda: stuck.core.added)
    fleet.front.ask(1, "get_supported_tasks")
    fleet.start("b")
    fleet.front.read_until_finished("r")
    assert "1 requests running" in stuck.host.failure


def test_a_long_call_is_no_stall(fleet):
    busy = stuck_in_calls(fleet, "a")
    fleet.attach()
    fleet.front.ask(1, "add_lora", ["name", 1, "/path"])
    fleet.front.add(request("r"))
    until(lambda: busy.core.added)
    time.sleep(1.0)  # three limits
    assert busy.host.failure is None


def test_an_abort_ends_the_request_at_the_engine(fleet):
    with_a_stream(fleet, "a")
    fleet.front.abort("r")
    fleet.front.call(1, "get_supported_tasks")  # in order: it is answered after the abort
    assert fleet.hosts["a"].core.running == {}
    assert fleet.switch.snapshot()["flights"]["active"] == 0


def test_an_engine_whose_last_request_was_aborted_reports_no_load(fleet):
    with_a_stream(fleet, "a")
    until(lambda: fleet.switch.snapshot()["engines"][0]["running"] == 1)
    fleet.front.abort("r")
    until(lambda: fleet.switch.snapshot()["engines"][0]["running"] == 0, within_s=2.0)


def test_a_host_aborts_what_a_vanished_switch_had_running(fleet):
    with_a_stream(fleet, "a")
    fleet.switch.stop()
    host = fleet.hosts["a"]
    until(lambda: host.call(lambda: host.core.aborted != [] and not host.core.running))


def test_utilities_go_to_all_engines_and_to_those_that_join_later(fleet):
    fleet.start("a", "b")
    fleet.attach()
    until(lambda: fleet.switch.ready_engines() == 2)
    for host in fleet.hosts.values():
        host.core.answers |= {"add_lora": True, "list_loras": [7]}
    lora = ["name", 7, "/path"]
    assert fleet.front.call(1, "add_lora", lora).result.result is True
    fleet.start("c")
    until(lambda: fleet.switch.ready_engines() == 3)
    fleet.hosts["c"].core.answers["list_loras"] = [7, 8]
    assert fleet.front.call(2, "list_loras").result.result == [7]  # what every engine has
    calls = [host.core.calls[0] for host in fleet.hosts.values()]
    assert calls == [("add_lora", (lora,))] * 3


def test_a_failed_utility_says_what_the_engine_said(fleet):
    fleet.start("a")
    fleet.attach()
    fleet.hosts["a"].core.answers["add_lora"] = ValueError("rank 64 is above the limit of 16")
    failed = fleet.front.call(1, "add_lora", ["name", 7, "/path"])
    assert failed.failure_message == "rank 64 is above the limit of 16"


def test_two_switches_share_an_engine_and_each_gets_its_own_tokens(fleet):
    fleet.start("a")
    fleet.attach()
    second = Fleet()
    second.hosts = fleet.hosts
    second.announce()
    second.attach()
    fleet.front.add(request("r", max_tokens=30))
    second.front.add(request("r", prompt=(9, 9), max_tokens=30))
    fleet.front.read_until_finished("r")
    second.front.read_until_finished("r")
    assert fleet.front.tokens["r"] == continuation(PROMPT, 30)
    assert second.front.tokens["r"] == continuation([9, 9], 30)
    second.switch.stop()
    second.front.close()


def test_the_snapshot_shows_engines_and_flights(fleet):
    with_a_stream(fleet, "a")
    until(lambda: fleet.switch.snapshot()["engines"][0]["running"] == 1)
    snapshot = fleet.switch.snapshot()
    assert snapshot["flights"] == {"active": 1, "moved": 0, "failed": 0}
    assert snapshot["engines"] == [
        {
            "id": "a",
            "state": "ready",
            "node": "node",
            "pid": os.getpid(),
            "endpoint": fleet.hosts["a"].address.endpoint,
            "running": 1,
            "waiting": 0,
            "kv_use_frac": 0.25,
            "kv_total_tokens": 0,
            "queued_prefill_tokens": 0,
            "step_cost_s": None,
            "bad_messages_received": 0,
            "bad_messages_sent": 0,
        }
    ]


def test_the_snapshot_counts_the_engines_that_were_lost_not_those_that_were_removed(fleet):
    fleet.start("a", "b", "c")
    until(lambda: fleet.switch.ready_engines() == 3)
    assert fleet.switch.snapshot()["losses"] == {"last_10_min": 0, "last": None}
    fleet.hosts["a"].leave()
    fleet.hosts["b"].call(fleet.hosts["b"].core.die)
    until(lambda: fleet.switch.ready_engines() == 1)
    losses = fleet.switch.snapshot()["losses"]
    assert losses["last_10_min"] == 1
    assert losses["last"].items() >= {"engine": "b", "cause": "core_dead"}.items()


def test_an_unreachable_engine_is_tried_until_it_answers(fleet):
    nobody = EngineAddress("tcp://127.0.0.1:9", KeyPair.fresh().public.decode())  # the discard port
    fleet.switch.set_members({"a": nobody})
    assert fleet.switch.snapshot()["engines"][0]["state"] == "connecting"
    fleet.start("a")
    fleet.attach()
    fleet.front.add(request("r", max_tokens=3))
    fleet.front.read_until_finished("r")
    assert fleet.front.finished["r"] == FinishReason.LENGTH
