"""What is measured again and what is not. No engine is started here: a fake one answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtest.acceleration import measure as measuring
from loadtest.acceleration.items import Item
from loadtest.acceleration.measure import Load, measure
from loadtest.bench.servers import ServerError
from serve_app.compress.manifest import Made, Manifest
from tests.loadtest.acceleration.test_verdict import result

ITEMS = (Item(task="a", prompt="He", answer=" sings"),)
LOAD = Load(scenario="saturated", settings=("seed=1",))


def spec_of(source: Path, **engine: Any) -> dict[str, Any]:
    model = {"name": "demo", "source": str(source), "engine": engine}
    return {"models": [model], "gateway": {}, "ports": {}}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The variants that were started; each is measured and found alike."""
    started: list[str] = []
    found = result("any", 1000, 98)

    @contextlib.contextmanager
    def running(launches: Any, folder: Path, timeout_s: float) -> Iterator[None]:
        started.append(folder.name)
        yield

    class Server:
        def __init__(self, host: str) -> None:
            pass

        def get(self, path: str) -> Any:
            return {"models": [{"engines": [{"pid": 1, "kv_total_tokens": 32}]}]}

    for name, stand_in in {
        "running": running,
        "JsonServer": Server,
        "readings": lambda *asked: [],
        "answers": lambda *asked: [],
        "quality": lambda *read: found.quality,
        "_speed": lambda *loaded: found.speed,
        "_own_bytes": lambda pid: 1,
    }.items():
        monkeypatch.setattr(measuring, name, stand_in)
    return started


def made(source: Path, seed: int) -> None:
    source.mkdir(exist_ok=True)
    how = Made(
        recipe="int8",
        seed=seed,
        samples=1,
        max_seq_tokens=1,
        source_digest="s",
        calibration_digest="c",
        compressor="x",
    )
    Manifest(
        made=how, source="demo", bytes_before=2, bytes_after=1, zero_frac=0, kept=(), took_s=1
    ).write(source)


def test_the_same_is_measured_once(starts: list[str], tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    first = measure("base", spec, tmp_path / "base", LOAD, ITEMS, None)
    assert measure("base", spec, tmp_path / "base", LOAD, ITEMS, None) == first
    assert starts == ["base"]


@pytest.mark.parametrize(
    "other",
    [
        {"load": Load(scenario="chat", settings=LOAD.settings)},
        {"load": Load(scenario="saturated", settings=("seed=2",))},
        {"items": (Item(task="a", prompt="She", answer=" sings"),)},
        {"engine": {"dtype": "bfloat16"}},
        {"seed": 2},
    ],
    ids=["scenario", "setting", "items", "engine", "compressed with another seed"],
)
def test_another_is_measured_anew(starts: list[str], tmp_path: Path, other: dict[str, Any]) -> None:
    source = tmp_path / "model"
    made(source, seed=1)
    measure("int8", spec_of(source), tmp_path / "int8", LOAD, ITEMS, None)
    made(source, seed=other.get("seed", 1))
    spec = spec_of(source, **other.get("engine", {}))
    load, items = other.get("load", LOAD), other.get("items", ITEMS)
    measure("int8", spec, tmp_path / "int8", load, items, None)
    assert starts == ["int8", "int8"]


def test_what_failed_is_tried_again(
    starts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*asked: Any) -> Any:
        raise ServerError("it ended: EngineStartError: model demo: no kernel")

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "readings", fails)
        failed, _ = measure("fp8", spec_of(tmp_path), tmp_path / "fp8", LOAD, ITEMS, None)
    assert failed.failure == "model demo: no kernel"
    again, _ = measure("fp8", spec_of(tmp_path), tmp_path / "fp8", LOAD, ITEMS, None)
    assert (again.failure, starts) == ("", ["fp8", "fp8"])
