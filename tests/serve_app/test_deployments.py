"""What Serve says of the engines, as the gateway keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ReplicaState,
    ServeStatus,
)

from serve_app import deployments
from serve_app.deployments import Seen
from serve_app.engine_history import Wait
from serve_app.scaling_record import Scaled
from tests.waiting import DEADLINE_S, eventually

SICK = {"status": "UNHEALTHY", "message": "the weights are missing"}


@dataclass
class Model:
    name: str
    deployment: deployments.Status | None = None
    backing_off: Sequence[Wait] = ()
    scaled: Scaled | None = None
    start_s: float | None = None


def watching(models: list[Model], look: Callable[[], Seen]) -> asyncio.Task[None]:
    return asyncio.ensure_future(deployments.watch(models, look, asyncio.Event()))


def test_each_model_has_what_serve_says_of_its_own_engines_and_forgets_it_with_the_controller(
    monkeypatch,
):
    monkeypatch.setattr(deployments, "STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(deployments, "AT_LEAST_S", 0.0)
    said = {"Engine:org--one": SICK, "Gateway": {"status": "HEALTHY", "message": ""}}
    models = [Model("org/one"), Model("two", deployment=SICK)]

    async def scenario() -> None:
        task = asyncio.ensure_future(
            deployments.watch(models, lambda: Seen(statuses=dict(said)), asyncio.Event())
        )
        await eventually(lambda: models[0].deployment == SICK)
        assert models[1].deployment is None
        said.clear()
        await eventually(lambda: models[0].deployment is None)
        task.cancel()

    asyncio.run(scenario())


def test_each_model_has_those_of_its_engines_that_wait(monkeypatch):
    monkeypatch.setattr(deployments, "STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(deployments, "AT_LEAST_S", 0.0)
    wait = Wait(engine_id="a", until_s=1.0, young_deaths=3)
    waiting = {"Engine:org--one": [wait]}
    models = [Model("org/one"), Model("two", backing_off=[wait])]

    async def scenario() -> None:
        task = asyncio.ensure_future(
            deployments.watch(models, lambda: Seen(waits=dict(waiting)), asyncio.Event())
        )
        await eventually(lambda: models[0].backing_off == [wait])
        assert not models[1].backing_off
        waiting.clear()
        await eventually(lambda: not models[0].backing_off)
        task.cancel()

    asyncio.run(scenario())


def test_each_model_has_its_own_size_and_remembers_how_long_a_start_takes(monkeypatch):
    monkeypatch.setattr(deployments, "STATUS_EVERY_S", 0.0)
    monkeypatch.setattr(deployments, "AT_LEAST_S", 0.0)
    none = Scaled(target=0, ready=0, reason="idle", sentence="0 engines: nobody asks", at_s=1.0)
    scaled, starts_s = {"Engine:org--one": none}, {"Engine:org--one": 40.0}
    models = [Model("org/one"), Model("two")]

    async def scenario() -> None:
        def look() -> Seen:
            return Seen(scaled=dict(scaled), starts_s=dict(starts_s))

        task = watching(models, look)
        await eventually(lambda: models[0].scaled == none)
        assert (models[0].start_s, models[1].scaled, models[1].start_s) == (40.0, None, None)
        scaled.clear()
        starts_s.clear()
        await eventually(lambda: models[0].scaled is None)
        assert models[0].start_s == 40.0
        task.cancel()

    asyncio.run(scenario())


def test_it_looks_again_at_once_where_it_is_asked_to(monkeypatch):
    monkeypatch.setattr(deployments, "STATUS_EVERY_S", DEADLINE_S)
    monkeypatch.setattr(deployments, "AT_LEAST_S", 0.0)

    async def scenario() -> None:
        looks = 0

        def look() -> Seen:
            nonlocal looks
            looks += 1
            return Seen()

        again = asyncio.Event()
        task = asyncio.ensure_future(deployments.watch([], look, again))
        for expected in (1, 2, 3):
            await eventually(lambda expected=expected: looks == expected and not again.is_set())
            again.set()
        task.cancel()

    asyncio.run(scenario())


def test_a_controller_that_does_not_answer_is_no_error(monkeypatch):
    def away() -> None:
        raise RuntimeError("the controller is starting again")

    monkeypatch.setattr(deployments.serve, "status", away)
    assert deployments.read("default") == Seen()


def test_it_reads_what_serve_calls_a_status(monkeypatch):
    sick = DeploymentStatusOverview(
        status=DeploymentStatus.UNHEALTHY,
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={},
        message=SICK["message"],
    )
    front = DeploymentStatusOverview(
        status=DeploymentStatus.HEALTHY,
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={ReplicaState.RUNNING: 2, ReplicaState.STARTING: 1},
        message="",
    )
    said = {"Engine:one": sick, deployments.GATEWAYS: front}
    app = ApplicationStatusOverview(ApplicationStatus.UNHEALTHY, "", 0.0, said)
    status = ServeStatus(applications={"default": app})
    monkeypatch.setattr(deployments.serve, "status", lambda: status)
    assert deployments.read("default") == Seen(
        statuses={"Engine:one": SICK, "Gateway": {"status": "HEALTHY", "message": ""}}, gateways=2
    )
