"""What an engine's death cost, from made-up rows."""

from typing import Any

import pytest

from loadtest.bench.peers.kill_outcome import Killed, killed_runs, tokens_between
from loadtest.bench.records import DuringRow, KillRow
from tests.loadtest.bench.rows import sample

KILL = KillRow(
    side="fleet", streams=2, engines=2, killed="VLLM::EngineCore", killed_at_s=10.0, last_sent_s=30
)


def during(t0_s: float, ended_s: float, side: str = "fleet", **fields: Any) -> DuringRow:
    """Three tokens, at 0.1, 0.2 and 0.3 s after its start."""
    times = {"t0_s": t0_s, "t1_s": t0_s + 0.1, "tn_s": t0_s + 0.3, "itl_us": (100_000, 100_000)}
    return DuringRow(side=side, sample=sample(**{**times, **fields}), ended_s=ended_s)


GOOD = [during(0, 0.3), during(5, 5.3), during(25, 25.3)]
REFUSED = during(11, 11.1, t1_s=None, tn_s=None, itl_us=(), error="http 503")
CUT = during(9.8, 10.5, error="ended without [DONE]")


def test_nothing_failed() -> None:
    killed = Killed(KILL, GOOD)
    assert (killed.failed, killed.cut, killed.failing_for_s, killed.came_back) == (
        [],
        0,
        None,
        True,
    )


def test_a_request_that_had_begun_was_cut_and_one_that_had_not_failed_only() -> None:
    killed = Killed(KILL, [*GOOD, REFUSED, CUT])
    assert (len(killed.failed), killed.cut) == (2, 1)
    assert killed.failing_for_s == pytest.approx(1.1)
    assert killed.came_back


def test_a_server_that_answers_no_more_did_not_come_back() -> None:
    assert not Killed(KILL, [during(0, 0.3), REFUSED]).came_back
    assert not Killed(KILL, []).requests


def test_the_longest_pause_is_of_complete_answers() -> None:
    paused = during(9, 12, itl_us=(1_500_000, 100_000))
    cut = during(9, 19, itl_us=(9_000_000, 100_000), error="disconnected")
    assert Killed(KILL, [*GOOD, paused, cut]).longest_pause_s == 1.5
    assert Killed(KILL, [cut]).longest_pause_s is None


def test_rates_are_of_the_stretch_before_the_kill_and_of_as_long_a_one_at_the_end() -> None:
    killed = Killed(KILL, [*GOOD, CUT])
    assert killed.tokens_per_s_before() == pytest.approx(6 / 10)  # two answers of three tokens
    assert killed.tokens_per_s_at_the_end() == pytest.approx(3 / 10)  # one, in 20 s to 30 s


def test_an_answers_tokens_are_shared_among_its_chunks() -> None:
    two_a_chunk = sample(t1_s=1.0, itl_us=(1_000_000, 1_000_000), output_tokens=6)  # at 1, 2, 3 s
    assert tokens_between(two_a_chunk, 0, 10) == 6
    assert tokens_between(two_a_chunk, 2, 3) == 2
    assert tokens_between(sample(error="cut"), 0, 10) == 0


def test_runs_are_told_apart_by_side() -> None:
    bare = KillRow(
        side="bare", streams=2, engines=1, killed="x", killed_at_s=10.0, last_sent_s=30.0
    )
    other = during(1, 2, side="bare")
    runs = killed_runs([KILL, *GOOD, bare, other])
    assert [(run.row.side, len(run.requests)) for run in runs] == [("fleet", 3), ("bare", 1)]
