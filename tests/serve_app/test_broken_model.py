"""A model whose API server cannot be built, while its engines run."""

from __future__ import annotations

import asyncio

import pytest

from cluster import spec as cluster_spec
from serve_app.errors import ModelFailedError
from serve_app.model_app import ModelApp
from tests.serve_app.builders import KEYS
from tests.serve_app.fake_core import HostThread
from tests.serve_app.model_fleet import ModelFleet, core_ready
from tests.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_model_that_cannot_be_built_says_so_at_once_and_for_good(tmp_path):
    spec = cluster_spec.parse({"models": [{"name": "broken", "source": str(tmp_path)}]})
    model = ModelApp(spec, spec.models[0], KEYS.own)
    await model.run()
    host = HostThread("e", core_ready=core_ready(2048))
    model.switch.set_members({"e": host.address})  # its engines may well run
    await eventually(lambda: model.switch.ready_engines() == 1)
    for _ in range(2):  # the second comes after the switch has told that the engine is ready
        await asyncio.to_thread(model.switch.snapshot)
    with pytest.raises(ModelFailedError, match="model broken cannot be served"):
        await asyncio.wait_for(model.ready_app(), 5)
    assert not model.ready
    await model.close()
    await asyncio.to_thread(host.close)


async def test_an_engine_that_goes_while_the_app_is_built_costs_only_time(caplog):
    caplog.set_level("INFO", "tokenfleet.gateway")
    fleet = ModelFleet("demo")
    await fleet.start("demo")
    await fleet.remove("demo")
    await eventually(lambda: "asked again, for the engine has gone" in caplog.text)
    assert fleet.models["demo"].failure is None
    await fleet.start("demo")
    await fleet.built()
    assert (await fleet.chat().finish()).status == 200
    await fleet.close()
