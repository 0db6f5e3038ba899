"""Shares of a limit over gateways: never more than all of it, whatever is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cluster.admission.reconciler import AGE_OUT_S, Claim, Reconciler, ShareAnswer, ShareReport

NAMES = ["g0", "g1", "g2"]


def report(
    gateway: str, number: int = 1, demand: float = 0.0, held: float = 0.0, units: int | None = None
) -> ShareReport:
    claim = Claim(demand=demand, held=held, units=units)
    return ShareReport(gateway=gateway, number=number, claims={"rate/a": claim})


class Fleet:
    """Gateways that report in turn, and hold what they are answered."""

    def __init__(self, demands: dict[str, float], held: float = 0.0) -> None:
        self.reconciler = Reconciler(0.0)
        self.demands = demands
        self.held = dict.fromkeys(demands, held)
        self.now_s = 0.0

    def rounds(self, count: int, units: int | None = None) -> dict[str, float]:
        for _ in range(count):
            self.now_s += 1.0
            for name, demand in self.demands.items():
                said = report(name, demand=demand, held=self.held[name], units=units)
                answer = self.reconciler.report(said, self.now_s)
                self.held[name] = answer.shares["rate/a"]
        return self.held


def test_shares_follow_demand_within_three_reports() -> None:
    fleet = Fleet({"a": 0.4, "b": 0.4}, held=0.5)
    assert fleet.rounds(15) == pytest.approx({"a": 0.5, "b": 0.5})
    fleet.demands = {"a": 5.0, "b": 0.0}
    assert fleet.rounds(3) == pytest.approx({"a": 0.9, "b": 0.1})


def test_a_new_gateway_gets_its_share_once_others_have_given_it_up() -> None:
    fleet = Fleet({"a": 1.0}, held=1.0)
    fleet.rounds(15)
    fleet.demands["b"], fleet.held["b"] = 1.0, 0.5  # its own guess, before it was answered
    assert fleet.rounds(1)["b"] <= 0.5
    assert fleet.rounds(2) == pytest.approx({"a": 0.5, "b": 0.5})


def test_the_share_of_one_that_is_silent_is_given_away_after_a_while() -> None:
    fleet = Fleet({"a": 1.0, "b": 1.0}, held=0.5)
    fleet.rounds(15)
    del fleet.demands["b"]
    assert fleet.rounds(int(AGE_OUT_S))["a"] == pytest.approx(0.5)
    assert fleet.rounds(2)["a"] == pytest.approx(1.0)
    assert fleet.reconciler.gateways == ("a",)


def test_the_share_of_one_that_was_removed_is_free_at_once() -> None:
    fleet = Fleet({"a": 1.0, "b": 1.0}, held=0.5)
    fleet.rounds(15)
    del fleet.demands["b"]
    fleet.reconciler.left("b")
    fleet.reconciler.left("never there")
    assert fleet.rounds(1)["a"] == pytest.approx(1.0)


def test_a_new_reconciler_gives_nothing_out_before_all_have_had_time_to_report() -> None:
    reconciler = Reconciler(100.0)
    early = reconciler.report(report("a", demand=9.0, held=0.4), 101.0)
    assert early.shares == {"rate/a": 0.4}
    late = reconciler.report(report("a", demand=9.0, held=0.4), 100.0 + AGE_OUT_S)
    assert late.shares == {"rate/a": 1.0}


def test_a_whole_number_is_divided_into_whole_numbers() -> None:
    fleet = Fleet({"a": 9.0, "b": 9.0}, held=0.5)
    assert fleet.rounds(15, units=3) == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    fleet.demands = {"a": 0.0, "b": 9.0}
    assert fleet.rounds(3, units=3) == pytest.approx({"a": 0.0, "b": 1.0})


class Shares(RuleBasedStateMachine):
    """Three gateways, of which every report and every answer may be lost or late. What they hold
    never sums to more than 1, but for the share of one that was taken to be gone and is not: those
    are not let be silent so long here."""

    @initialize(
        held=st.lists(st.floats(0, 1), min_size=3, max_size=3), units=st.sampled_from([0, 5])
    )
    def begin(self, held: list[float], units: int) -> None:
        total = max(1.0, sum(held))
        self.units = units or None
        self.held = {name: frac / total for name, frac in zip(NAMES, held, strict=True)}
        self.numbers = dict.fromkeys(NAMES, 0)
        self.now_s, self.heard_s = 0.0, dict.fromkeys(NAMES, 0.0)
        self.reconciler = Reconciler(0.0)
        self.answers: list[tuple[str, ShareAnswer]] = []

    @rule(
        name=st.sampled_from(NAMES),
        demand=st.sampled_from([0.0, 0.2, 1.0, 8.0]),
        wait_s=st.floats(0, 3),
        lost=st.sampled_from(["no", "report", "answer"]),
    )
    def reports(self, name: str, demand: float, wait_s: float, lost: str) -> None:
        self.now_s += wait_s
        for other in NAMES:  # nobody is silent for long enough to be taken for gone
            if self.now_s - self.heard_s[other] > AGE_OUT_S / 2:
                self._report(other, 0.0, "no")
        self._report(name, demand, lost)

    def _report(self, name: str, demand: float, lost: str) -> None:
        self.numbers[name] += 1
        if lost == "report":
            return
        said = report(name, self.numbers[name], demand, self.held[name], self.units)
        answer = self.reconciler.report(said, self.now_s)
        self.heard_s[name] = self.now_s
        if lost == "no":
            self.answers.append((name, answer))

    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        if self.answers:
            place = data.draw(st.integers(0, len(self.answers) - 1))
            name, answer = self.answers.pop(place)
            if answer.number == self.numbers[name]:
                self.held[name] = answer.shares["rate/a"]

    @invariant()
    def within_the_limit(self) -> None:
        assert sum(self.held.values()) <= 1.0 + 1e-9


Shares.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestShares = Shares.TestCase
