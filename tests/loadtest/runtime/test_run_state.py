"""A run as the master sees it."""

from loadtest.runtime.live import Tally
from loadtest.runtime.run_state import RunState


def run(**fields: object) -> RunState:
    return RunState(1, {"a": 0, "b": 1}, **fields)  # type: ignore[arg-type]


def test_a_run_is_ready_and_done_with_its_last_worker() -> None:
    state = run(ready={0: 5})
    assert not state.all_ready
    state.ready[1] = 0
    assert state.all_ready
    assert not state.all_done


def test_a_lost_worker_is_not_waited_for_and_makes_the_run_invalid() -> None:
    state = run(done={0: {}}, whole=Tally(done=1))
    state.lose({"a"})
    state.lose({"a"})
    assert state.all_done
    assert state.problems == ["worker 1 was lost"]
    assert state.exit_status == 2


def test_a_worker_that_leaves_when_it_is_done_is_not_lost() -> None:
    state = run(done={0: {}, 1: {}}, whole=Tally(done=1))
    state.lose(set())
    assert (state.problems, state.exit_status) == ([], 0)


def test_a_run_without_a_success_fails_and_a_refused_one_is_wrong_input() -> None:
    assert run().exit_status == 1
    assert run(whole=Tally(done=1, failed=99)).exit_status == 0
    assert run(refused="no such model").exit_status == 3


def test_recent_counts_begin_anew_each_time() -> None:
    state = run(recent=Tally(done=2))
    assert state.take_recent().done == 2
    assert state.take_recent().done == 0
