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
    worth_hedging,
)
from cluster.spec import FailoverSpec

LIMITS = FailoverLimits(max_attempts=3, poison_deaths=2)
PLAIN = RequestTraits()
STATEFUL = RequestTraits(stateful_sampling=True)
STREAMED_INPUT = RequestTraits(resumable=False)


def decide(
    traits=PLAIN, *, cause=LossCause.ABORTED, emitted_tokens=5, losses=1, deaths=0, limits=LIMITS
) -> MoveDecision:
    return decide_move(
        cause=cause,
        traits=traits,
        emitted_tokens=emitted_tokens,
        losses=losses,
        deaths=deaths,
        limits=limits,
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
        pytest.param({"losses": 3, "deaths": 1}, ResumeKind.PREFILL, id="the last allowed move"),
        pytest.param(
            {"cause": LossCause.REMOVED, "losses": 9, "deaths": 9},
            ResumeKind.PREFILL,
            id="what we take away ourselves is held against nobody",
        ),
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
        pytest.param({"losses": 4}, FailReason.MAX_ATTEMPTS, id="moved as often as allowed"),
        pytest.param({"losses": 9, "deaths": 9}, FailReason.POISON, id="poison is the graver word"),
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


def test_no_planned_loss_is_a_death():
    assert not any(cause.is_planned and cause.is_death for cause in LossCause)


def test_a_request_is_moved_as_often_as_the_limit_says():
    losses = 1
    while decide(losses=losses).fail is None:
        losses += 1
    assert losses - 1 == LIMITS.max_attempts


@pytest.mark.parametrize(
    ("waited_s", "here_tokens", "there_tokens", "worth_it"),
    [
        pytest.param(5.0, 100, 50, True, id="another has less to do"),
        pytest.param(5.0, 0, 0, True, id="both idle: this one hangs"),
        pytest.param(5.0, 50, 100, False, id="another has more to do"),
        pytest.param(4.9, 100, 0, False, id="it is too soon"),
    ],
)
def test_a_slow_first_token(waited_s, here_tokens, there_tokens, worth_it):
    question = {"waited_s": waited_s, "here_tokens": here_tokens, "there_tokens": there_tokens}
    assert worth_hedging(**question, limits=FailoverLimits(hedge_after_s=5.0)) is worth_it
    assert not worth_hedging(**question, limits=FailoverLimits()), "off by default"


def test_the_defaults_are_the_spec_s():
    spec = FailoverSpec()
    assert FailoverLimits() == FailoverLimits(
        max_attempts=spec.max_attempts,
        poison_deaths=spec.poison_deaths,
        hold_timeout_s=spec.hold_timeout_s,
        finish_within_s=spec.finish_within_s,
        hedge_after_s=spec.hedge_after_s,
    )


any_traits = st.builds(RequestTraits, stateful_sampling=st.booleans(), resumable=st.booleans())
any_limits = st.builds(
    FailoverLimits, max_attempts=st.integers(1, 5), poison_deaths=st.integers(1, 5)
)
any_request = st.fixed_dictionaries(
    {
        "cause": st.sampled_from(LossCause),
        "traits": any_traits,
        "emitted_tokens": st.integers(0, 3),
        "losses": st.integers(0, 6),
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
    decision, limits = decide_move(**request_so_far), request_so_far["limits"]
    if decision.resume is not None and not request_so_far["cause"].is_planned:
        assert request_so_far["deaths"] < limits.poison_deaths
        assert request_so_far["losses"] <= limits.max_attempts


@given(any_request, st.sampled_from(["losses", "deaths"]))
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
