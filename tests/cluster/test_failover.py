"""What becomes of a request that lost its engine: the table, then what holds for any request."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.failover import (
    FailoverLimits,
    FailReason,
    LossCause,
    MoveDecision,
    RequestTraits,
    ResumeKind,
    decide_move,
    resume_kind,
)
from cluster.spec import FailoverSpec

LIMITS = FailoverLimits(max_attempts=3, poison_deaths=2)
PLAIN = RequestTraits()
STATEFUL = RequestTraits(stateful_sampling=True)
STREAMED_INPUT = RequestTraits(resumable=False)


def decide(traits=PLAIN, *, emitted_tokens=5, moves=0, deaths=0, limits=LIMITS) -> MoveDecision:
    return decide_move(
        traits=traits, emitted_tokens=emitted_tokens, moves=moves, deaths=deaths, limits=limits
    )


@pytest.mark.parametrize(
    ("request_so_far", "resume"),
    [
        pytest.param(
            {"emitted_tokens": 0}, ResumeKind.RESEND, id="nothing was emitted: sent again"
        ),
        pytest.param(
            {"traits": STATEFUL, "emitted_tokens": 0},
            ResumeKind.RESEND,
            id="sampling state does not matter before the first token",
        ),
        pytest.param({}, ResumeKind.PREFILL, id="plain sampling goes on from its tokens"),
        pytest.param(
            {"traits": STATEFUL, "emitted_tokens": 1},
            ResumeKind.REPLAY,
            id="sampling with state repeats even a single token",
        ),
        pytest.param({"deaths": 1}, ResumeKind.PREFILL, id="one death is bad luck"),
        pytest.param({"moves": 2, "deaths": 1}, ResumeKind.PREFILL, id="the last allowed move"),
    ],
)
def test_moved(request_so_far, resume):
    assert decide(**request_so_far) == MoveDecision(resume=resume)


@pytest.mark.parametrize(
    ("request_so_far", "reason"),
    [
        pytest.param({"deaths": 2}, FailReason.POISON, id="two engines died of it"),
        pytest.param(
            {"deaths": 2, "emitted_tokens": 0},
            FailReason.POISON,
            id="even one that never got a token may have killed them",
        ),
        pytest.param({"moves": 3}, FailReason.MAX_ATTEMPTS, id="moved as often as allowed"),
        pytest.param({"moves": 9, "deaths": 9}, FailReason.POISON, id="poison is the graver word"),
        pytest.param(
            {"traits": STREAMED_INPUT}, FailReason.NOT_RESUMABLE, id="streamed input is elsewhere"
        ),
        pytest.param(
            {"traits": STREAMED_INPUT, "emitted_tokens": 0},
            FailReason.NOT_RESUMABLE,
            id="streamed input cannot even start again",
        ),
    ],
)
def test_failed(request_so_far, reason):
    assert decide(**request_so_far) == MoveDecision(fail=reason)


def test_only_deaths_make_a_request_suspect():
    deaths = {cause for cause in LossCause if cause.is_death}
    assert deaths == {LossCause.DISCONNECTED, LossCause.CORE_DEAD}


def test_a_request_is_moved_as_often_as_the_limit_says():
    moves = 0
    while decide(moves=moves).fail is None:
        moves += 1
    assert moves == LIMITS.max_attempts


def test_the_defaults_are_the_spec_s():
    spec = FailoverSpec()
    assert FailoverLimits() == FailoverLimits(
        max_attempts=spec.max_attempts,
        poison_deaths=spec.poison_deaths,
        hold_timeout_s=spec.hold_timeout_s,
    )


any_traits = st.builds(RequestTraits, stateful_sampling=st.booleans(), resumable=st.booleans())
any_limits = st.builds(
    FailoverLimits, max_attempts=st.integers(1, 5), poison_deaths=st.integers(1, 5)
)
any_request = st.fixed_dictionaries(
    {
        "traits": any_traits,
        "emitted_tokens": st.integers(0, 3),
        "moves": st.integers(0, 6),
        "deaths": st.integers(0, 6),
        "limits": any_limits,
    }
)


@given(any_request)
def test_a_decision_moves_or_fails_never_both(request_so_far):
    decision = decide_move(**request_so_far)
    assert (decision.resume is None) != (decision.fail is None)


@given(any_request)
def test_the_limits_hold_for_whatever_moves(request_so_far):
    if decide_move(**request_so_far).resume is not None:
        limits = request_so_far["limits"]
        assert request_so_far["deaths"] < limits.poison_deaths
        assert request_so_far["moves"] < limits.max_attempts


@given(any_request, st.sampled_from(["moves", "deaths"]))
def test_what_failed_once_is_not_saved_by_one_more_loss(request_so_far, which):
    if decide_move(**request_so_far).fail is not None:
        worse = {**request_so_far, which: request_so_far[which] + 1}
        assert decide_move(**worse).fail is not None


@given(any_request)
def test_a_move_continues_in_the_cheapest_exact_way(request_so_far):
    decision = decide_move(**request_so_far)
    traits, emitted = request_so_far["traits"], request_so_far["emitted_tokens"]
    if decision.resume is not None:
        assert decision.resume is resume_kind(traits, emitted)
        assert (decision.resume is ResumeKind.RESEND) == (emitted == 0)
        assert decision.resume is not ResumeKind.PREFILL or not traits.stateful_sampling
