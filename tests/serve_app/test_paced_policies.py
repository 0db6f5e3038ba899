"""Policies as Serve calls them: seldom at work, told of, and never the end of its control loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from ray.experimental import internal_kv

from cluster.scaling.decision import ScalingDecision, ScalingReason
from serve_app import autoscaling, scaling_record
from serve_app.autoscaling import COMPLAIN_EVERY_S, EVERY_S, Paced
from serve_app.scaling_record import KEPT_CHANGES
from serve_app.scaling_recorder import AGAIN_S
from tests.serve_app.gcs import Gcs
from tests.serve_app.scaling_contexts import APP, ENGINES, context


@dataclass
class Clock:
    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return 1e9 + self.now_s


@dataclass
class Told:
    """Decides what it is told to, or raises it."""

    target: int | Exception = 1
    reason: ScalingReason = ScalingReason.LOAD
    asked: list[float] = field(default_factory=list)

    def decide(self, context, now_s: float) -> ScalingDecision:
        self.asked.append(now_s)
        if isinstance(self.target, Exception):
            raise self.target
        return ScalingDecision(target=self.target, reason=self.reason, sentence=f"at {now_s:g} s")


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    return gcs


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(autoscaling, "time", clock)
    return clock


def stored() -> scaling_record.Scaled:
    scaled = scaling_record.read(APP, ENGINES)
    assert scaled is not None
    return scaled


def test_it_decides_now_and_then_and_leaves_the_size_in_between(clock):
    told = Told(target=5)
    policy = Paced(lambda recorder: told)
    assert policy.target(context(1, {})) == 5
    clock.now_s = EVERY_S / 2
    assert policy.target(context(5, {})) == 5
    assert policy.target(context(4, {})) == 4  # somebody else's choice, until it looks again
    clock.now_s = EVERY_S
    assert policy.target(context(4, {})) == 5
    assert told.asked == [0.0, EVERY_S]


def test_whatever_goes_wrong_leaves_the_size_and_is_logged_now_and_then(clock, caplog):
    told = Told(target=RuntimeError("a bad report"))
    policy = Paced(lambda recorder: told)
    for clock.now_s in (0.0, 1.0, COMPLAIN_EVERY_S):
        assert policy.target(context(3, {})) == 3
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
    told.target, clock.now_s = 2, COMPLAIN_EVERY_S + 1.0
    assert policy.target(context(3, {})) == 2


def test_a_store_that_is_away_costs_no_decision_later(monkeypatch, gcs, clock, caplog):
    def away(*args):
        raise OSError("the GCS is away")

    policy = Paced(lambda recorder: Told(target=2))
    get, put = gcs.internal_kv_get, gcs.internal_kv_put
    monkeypatch.setattr(gcs, "internal_kv_get", away)
    assert policy.target(context(1, {})) == 1  # what was there before is not known
    monkeypatch.setattr(gcs, "internal_kv_get", get)
    monkeypatch.setattr(gcs, "internal_kv_put", away)
    clock.now_s = 1.0
    assert policy.target(context(1, {})) == 2
    monkeypatch.setattr(gcs, "internal_kv_put", put)
    clock.now_s = 1.0 + AGAIN_S
    assert policy.target(context(2, {})) == 2
    assert stored().target == 2
    assert "the store does not take" in caplog.text


def test_every_change_is_logged_with_its_reason_and_kept(clock, caplog):
    told = Told()
    policy = Paced(lambda recorder: told)
    with caplog.at_level(logging.INFO, "ray.serve"):
        target = 0
        for number, told.target in enumerate((1, 1, 3, 1)):
            clock.now_s = float(number)
            target = policy.target(context(target, {"e": {}}))
    assert caplog.messages == [
        "Engine:demo: from 0 to 1 replicas (load): at 0 s",
        "Engine:demo: from 1 to 3 replicas (load): at 2 s",
        "Engine:demo: from 3 to 1 replicas (load): at 3 s",
    ]
    kept = stored()
    assert [(change.before, change.after) for change in kept.changes] == [(0, 1), (1, 3), (3, 1)]
    assert kept.changes[-1].at_s == 1e9 + 3.0
    assert (kept.target, kept.ready, kept.reason, kept.sentence) == (1, 1, "load", "at 3 s")


def test_a_decision_that_changes_nothing_is_written_seldom(clock):
    policy = Paced(lambda recorder: Told(target=1))
    for clock.now_s in (0.0, AGAIN_S / 2):
        policy.target(context(1, {}))
    assert stored().sentence == "at 0 s"
    clock.now_s = AGAIN_S
    policy.target(context(1, {}))
    assert stored().sentence == f"at {AGAIN_S:g} s"


def test_what_an_earlier_policy_left_is_known_to_the_next_and_its_changes_stay(clock):
    told = Told()
    for number in range(KEPT_CHANGES + 2):
        clock.now_s = float(number)
        told.target = number % 2 + 1
        seen = []
        policy = Paced(lambda recorder, seen=seen: seen.append(recorder.earlier) or told)
        policy.target(context(2 - number % 2, {}))
        assert (seen[0] is None) == (number == 0)
    assert len(stored().changes) == KEPT_CHANGES
    assert stored().changes[0].sentence == "at 2 s"


def test_what_other_code_has_written_is_as_if_there_were_nothing(gcs):
    gcs.kept[b"tokenfleet", scaling_record.key(APP, ENGINES).encode()] = b'{"target": "many"}'
    assert scaling_record.read(APP, ENGINES) is None
    assert scaling_record.read_all(APP, 0.0) == {}


def test_a_decision_that_nobody_repeats_stands_no_more(clock):
    Paced(lambda recorder: Told(target=0)).target(context(1, {}))
    assert scaling_record.read_all(APP, clock.time() + 59.0)[ENGINES].target == 0
    assert scaling_record.read_all(APP, clock.time() + 61.0) == {}
    assert scaling_record.read_all("another app", clock.time()) == {}
