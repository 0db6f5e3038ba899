"""A gateway's reports of what its tenants ask for, and the deployment that answers them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ray import cloudpickle

from cluster.admission.reconciler import AGE_OUT_S, Claim, ShareAnswer, ShareReport
from serve_app import limit_shares
from serve_app.limit_shares import LimitShares, keep_shares, say_left
from tests.waiting import eventually


class Response:
    """Serve's: awaited for the answer, or given up."""

    def __init__(self, work: Any) -> None:
        self._work, self.given_up = work, False

    def __await__(self) -> Any:
        return self._work.__await__()

    def cancel(self) -> None:
        self.given_up = True


class Handle:
    """Serve's handle of a deployment; what passes through it is pickled, as by Serve."""

    def __init__(self, deployment: Any) -> None:
        self.deployment = deployment
        self.responses: list[Response] = []

    def __getattr__(self, method: str) -> Any:
        handle = self

        class Method:
            def remote(self, *args: Any) -> Response:
                args = cloudpickle.loads(cloudpickle.dumps(args))
                response = Response(getattr(handle.deployment, method)(*args))
                handle.responses.append(response)
                return response

        return Method()


class Desk:
    """Asks for `demand_frac` of one limit; `share` is what it was last told to hold."""

    def __init__(self, gateway: str, demand_frac: float, share: float) -> None:
        self.gateway, self.demand_frac, self.share = gateway, demand_frac, share
        self.answers: list[ShareAnswer] = []
        self._numbers = itertools.count(1)

    def share_report(self) -> ShareReport:
        claim = Claim(demand=self.demand_frac, held=self.share)
        return ShareReport(
            gateway=self.gateway, number=next(self._numbers), claims={"rate/a": claim}
        )

    def have_shares(self, answer: ShareAnswer) -> None:
        self.answers.append(answer)
        self.share = answer.shares["rate/a"]


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(limit_shares, "time", clock)
    return clock


def scenario(work: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))


def test_the_share_follows_the_demand_and_the_sum_is_never_above_the_limit(clock: Clock) -> None:
    busy, idle = Desk("busy", 2.0, 0.5), Desk("idle", 0.0, 0.5)

    async def report() -> None:
        limits = Handle(LimitShares())
        clock.now_s += AGE_OUT_S + 1
        tasks = [asyncio.ensure_future(keep_shares(each, limits, 0.001)) for each in (busy, idle)]
        await eventually(lambda: busy.share > 0.85)
        for task in tasks:
            task.cancel()

    scenario(report)
    assert busy.share + idle.share <= 1 + 1e-9


def test_who_is_said_to_have_left_leaves_its_share_at_once(clock: Clock) -> None:
    async def leave() -> None:
        limits = Handle(LimitShares())
        clock.now_s += AGE_OUT_S + 1
        first, second = Desk("first", 1.0, 0.5), Desk("second", 1.0, 0.5)
        for desk in (first, second) * 3:
            desk.have_shares(await limits.report.remote(desk.share_report()))
        assert second.share == pytest.approx(0.5)
        await say_left(limits, "first")
        second.have_shares(await limits.report.remote(second.share_report()))
        assert second.share == pytest.approx(1.0)

    scenario(leave)


class Deaf:
    """A deployment that fails, then hangs until it is well again."""

    def __init__(self) -> None:
        self.calls = 0
        self.well = False

    async def report(self, report: ShareReport) -> ShareAnswer:
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("its replica died")
        if not self.well:
            await asyncio.get_running_loop().create_future()
        return ShareAnswer(number=report.number, shares={"rate/a": 0.25})


def test_a_gateway_that_does_not_reach_it_keeps_its_share_and_reports_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limit_shares, "ANSWER_WITHIN_S", 0.01)
    caplog.set_level("INFO", "tokenfleet.gateway")
    desk, deaf = Desk("a", 1.0, 0.75), Deaf()
    limits = Handle(deaf)

    async def report() -> None:
        task = asyncio.ensure_future(keep_shares(desk, limits, 0.001))
        await eventually(lambda: deaf.calls >= 3)
        assert (desk.share, desk.answers) == (0.75, [])
        deaf.well = True
        await eventually(lambda: desk.answers)
        task.cancel()

    scenario(report)
    assert desk.share == 0.25
    assert limits.responses[1].given_up
    said = [record.getMessage() for record in caplog.records if "limits are" in record.getMessage()]
    assert len(said) == 2  # once that it is lost, once that it is back


def test_a_gateway_ends_where_nobody_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_shares, "LEFT_WITHIN_S", 0.01)

    class Gone:
        async def left(self, gateway: str) -> None:
            await asyncio.get_running_loop().create_future()

    scenario(lambda: say_left(Handle(Gone()), "a"))
