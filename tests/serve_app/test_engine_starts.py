"""How long engines took to start, in a store that may fail."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from ray.experimental import internal_kv

from serve_app import engine_starts
from tests.serve_app.gcs import Gcs

APP = "app"


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    return gcs


def note(monkeypatch, deployment: str, start_s: float) -> None:
    context = SimpleNamespace(app_name=APP, deployment=deployment)
    monkeypatch.setattr(engine_starts.serve, "get_replica_context", lambda: context)
    asyncio.run(engine_starts.note(start_s))


def test_the_last_start_of_each_deployment_is_kept(monkeypatch):
    assert engine_starts.start_s(APP, "one") is None
    for deployment, start_s in (("one", 40.0), ("one", 30.0), ("two", 5.0)):
        note(monkeypatch, deployment, start_s)
    assert engine_starts.start_s(APP, "one") == 30.0
    assert engine_starts.read_all(APP) == {"one": 30.0, "two": 5.0}
    assert engine_starts.read_all("another") == {}


def test_a_store_that_is_away_keeps_nobody_from_serving(monkeypatch, gcs, caplog):
    def away(*args):
        raise OSError("the GCS is away")

    for call in ("put", "get", "keys"):
        monkeypatch.setattr(gcs, f"internal_kv_{call}", away)
    note(monkeypatch, "one", 40.0)
    assert "not kept" in caplog.text
    assert engine_starts.read_all(APP) == {}


def test_what_other_code_wrote_is_nothing(gcs):
    gcs.kept[b"tokenfleet", b"engine_start/app/one"] = b"5"
    assert engine_starts.start_s(APP, "one") is None
    assert engine_starts.read_all(APP) == {}


def test_a_start_lasts_from_the_process_s_begin_without_waits_on_purpose(monkeypatch):
    now_s = [150.0]
    began = SimpleNamespace(create_time=lambda: 100.0)
    monkeypatch.setattr(engine_starts.psutil, "Process", lambda: began)
    monkeypatch.setattr(engine_starts.time, "time", lambda: now_s[0])
    clock = engine_starts.StartClock()
    clock.part("imports")
    now_s[0] += 20.0
    clock.waited()
    now_s[0] += 5.0
    clock.part("core")
    now_s[0] -= 3.0  # somebody set the clock
    clock.part("rest")
    assert clock.start_s == 55.0
    assert str(clock) == "55.0 s: imports 50.0, core 5.0, rest 0.0"
