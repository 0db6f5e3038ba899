"""An engine's history, from one engine to the next, in a store that may fail."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import msgspec
import pytest
from ray.experimental import internal_kv

from cluster import crash_loop
from cluster.crash_loop import Life
from cluster.spec import FailoverSpec
from serve_app import cluster_store, engine_history
from serve_app.engine_history import EngineHistory, KeptHistory, Place, Wait, waits
from tests.serve_app.gcs import Gcs
from tests.waiting import eventually, until

PLACE = Place(app="app", deployment="Engine:demo", version="v1", engine_id="new")
SHORT_S, LONG_S = 0.01, 300.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    monkeypatch.setattr(crash_loop, "BEAT_EVERY_S", 0.01)
    return gcs


@pytest.fixture
def _broken(monkeypatch, gcs):
    def fail(*args):
        raise OSError("the GCS is away")

    for call in ("put", "get", "del", "keys"):
        monkeypatch.setattr(gcs, f"internal_kv_{call}", fail)


def write(place: Place, ended_ago_s: float, lived_s: float = 5.0, *, left: bool = False) -> None:
    end_s = time.time() - ended_ago_s
    life = Life(ready_at_s=end_s - lived_s, last_alive_at_s=end_s, left=left)
    cluster_store.put(place.life_key, msgspec.json.encode(life))


def crash(times: int, place: Place = PLACE) -> None:
    for index in range(times):
        write(replace(place, engine_id=f"{place.version}-{index}"), 20.0 + index)


def life_of(place: Place) -> Life | None:
    value = cluster_store.get(place.life_key)
    return value and msgspec.json.decode(value, type=Life)


def back_off(place: Place = PLACE, max_s: float = SHORT_S) -> None:
    asyncio.run(KeptHistory(place, max_s).back_off())


@pytest.mark.anyio
async def test_an_engine_waits_says_so_and_no_longer_once_it_starts(monkeypatch, caplog):
    go = asyncio.Event()
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await go.wait()

    monkeypatch.setattr(engine_history, "asyncio", _with_sleep(sleep))
    crash(6)
    waiting = asyncio.ensure_future(KeptHistory(PLACE, LONG_S).back_off())
    await eventually(lambda: slept)
    assert slept == [8.0]
    ((deployment, (wait,)),) = waits("app").items()
    assert (deployment, wait.engine_id, wait.young_deaths) == ("Engine:demo", "new", 6)
    assert 0 < wait.until_s - time.time() <= 8.0
    assert waits("another app") == {}
    assert "the last 6 engines of Engine:demo died" in caplog.text
    go.set()
    await waiting
    assert waits("app") == {}


def _with_sleep(sleep):
    """`asyncio`, as the module uses it."""

    class Fake:
        to_thread, wait_for = asyncio.to_thread, asyncio.wait_for

    Fake.sleep = staticmethod(sleep)
    return Fake


@pytest.mark.anyio
async def test_a_start_that_is_given_up_waits_no_more():
    crash(20)
    waiting = asyncio.ensure_future(KeptHistory(PLACE, LONG_S).back_off())
    await eventually(lambda: waits("app"))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert waits("app") == {}


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(replace(PLACE, version="v2"), id="another version"),
        pytest.param(replace(PLACE, deployment="Engine:demo-2"), id="another model"),
        pytest.param(replace(PLACE, app="app2"), id="another app"),
    ],
)
def test_deaths_of_other_engines_are_nothing_to_this_one(place, caplog):
    crash(9, place)
    back_off()
    assert "died within" not in caplog.text
    back_off(place)
    assert "died within" in caplog.text


def test_who_reads_deletes_what_is_of_no_more_use(gcs):
    crash(2 * crash_loop.REMEMBERED, replace(PLACE, version="v0"))
    write(replace(PLACE, engine_id="long gone"), 2 * crash_loop.FORGET_S)
    write(replace(PLACE, engine_id="scaled down"), 1.0, left=True)
    write(replace(PLACE, engine_id="alive"), 1.0)
    cluster_store.put(replace(PLACE, engine_id="strange").life_key, b"{}")
    back_off()
    assert life_of(replace(PLACE, engine_id="alive"))
    assert len(gcs.kept) == crash_loop.REMEMBERED + 1


def test_a_wait_whose_engine_was_killed_is_deleted_when_it_is_over(gcs):
    wait = Wait(engine_id="new", until_s=time.time() - 1.0, young_deaths=3)
    cluster_store.put(PLACE.wait_key, msgspec.json.encode(wait))
    assert waits("app") == {}
    assert gcs.kept == {}


def test_an_engine_writes_that_it_lives_and_that_it_left():
    history = KeptHistory(PLACE, SHORT_S)
    history.ready()
    first = until(lambda: life_of(PLACE))
    assert not first.left
    later = until(lambda: (x := life_of(PLACE)) and x.last_alive_at_s > first.last_alive_at_s and x)
    assert later.ready_at_s == first.ready_at_s
    history.leave()
    history.leave()
    assert life_of(PLACE).left


def test_an_engine_that_leaves_before_it_was_ready_has_no_life():
    KeptHistory(PLACE, SHORT_S).leave()
    assert life_of(PLACE) is None


@pytest.mark.usefixtures("_broken")
def test_a_store_that_fails_stops_no_engine_and_is_told_once(caplog):
    history = KeptHistory(PLACE, LONG_S)
    asyncio.run(history.back_off())
    history.ready()
    history.leave()
    assert waits("app") == {}
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "the history of engines is not kept, or incomplete: OSError: the GCS is away"
    ]


def test_a_store_that_does_not_answer_stops_no_engine(monkeypatch, gcs, caplog):
    hangs = threading.Event()
    monkeypatch.setattr(engine_history, "STORE_WITHIN_S", 0.01)
    monkeypatch.setattr(gcs, "internal_kv_keys", lambda prefix, namespace: hangs.wait() and [])

    async def scenario() -> None:
        await KeptHistory(PLACE, LONG_S).back_off()
        hangs.set()

    asyncio.run(scenario())
    assert "TimeoutError" in caplog.text


def test_without_a_backoff_nothing_is_kept(gcs):
    history = engine_history.of_this_replica(FailoverSpec(restart_backoff_max_s=0.0))
    asyncio.run(history.back_off())
    history.ready()
    history.leave()
    assert type(history) is EngineHistory
    assert gcs.kept == {}
