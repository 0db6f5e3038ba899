"""One variant: started, asked, loaded, stopped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from loadtest.acceleration import measured
from loadtest.acceleration.items import Item
from loadtest.acceleration.measured import Measured, Speed
from loadtest.acceleration.quality import Reading, answers, quality, readings
from loadtest.bench.servers import (
    ServerError,
    fleet_launch,
    free_port,
    run_tokenfleet,
    running,
    source_of,
)
from loadtest.json_server import JsonServer
from loadtest.json_server import ServerError as AnswerError
from serve_app.compress import manifest

START_TIMEOUT_S = 900.0
MOST_TEXTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`scenario` of the load test, and what of it is set otherwise."""

    scenario: str
    settings: Sequence[str] = ()


def measure(
    variant: str,
    spec: Mapping[str, Any],
    folder: Path,
    load: Load,
    items: Sequence[Item],
    base: Sequence[Reading] | None,
) -> tuple[Measured, list[Reading]]:
    """Of `spec`'s one model. What its folder has of it already is not measured again."""
    model = spec["models"][0]
    source = source_of(model)
    wanted = Measured(
        variant=variant,
        source=source,
        engine=model["engine"] | ({"preset": model["preset"]} if model.get("preset") else {}),
        work=_work(spec, load, items),
        weight_bytes=manifest.weight_bytes(Path(source)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    if (known := measured.read(folder, wanted)) is not None:
        print(f"{variant}: measured before", file=sys.stderr)
        return known
    launch = fleet_launch("fleet", spec, free_port(), folder)
    host = f"http://{launch.endpoint.host}:{launch.endpoint.port}"
    name, server = model["name"], JsonServer(host)
    began_s = time.monotonic()
    try:
        with running([launch], folder, START_TIMEOUT_S):
            start_s = time.monotonic() - began_s
            read = readings(server, name, [each.text for each in items if each.text][:MOST_TEXTS])
            found = quality(answers(server, name, items), read, base)
            speed = _speed(host, folder, load)
            (engine,) = server.get("/fleet")["models"][0]["engines"]
            memory_bytes = _own_bytes(engine["pid"])
    except (ServerError, AnswerError, subprocess.CalledProcessError) as error:
        return replace(wanted, failure=_reason(str(error))), []
    done = replace(
        wanted,
        start_s=round(start_s, 1),
        memory_bytes=memory_bytes,
        kv_tokens=engine["kv_total_tokens"],
        speed=speed,
        quality=found,
    )
    measured.write(folder, done, read)
    return done, read


def _work(spec: Mapping[str, Any], load: Load, items: Sequence[Item]) -> str:
    """A digest of what is measured: the spec, how its model was made, the load, the questions."""
    made = manifest.read(Path(source_of(spec["models"][0])))
    return manifest.digest_of(
        [
            spec,
            None if made is None else made.made.model_dump(),
            [load.scenario, *load.settings],
            [item.model_dump() for item in items],
        ]
    )


def _speed(host: str, folder: Path, load: Load) -> Speed:
    """Raises CalledProcessError."""
    out = folder / "run"
    shutil.rmtree(out, ignore_errors=True)  # of one that was cut short, or of another load
    settings = [part for setting in load.settings for part in ("--set", setting)]
    run_tokenfleet(
        *("loadtest", "run", load.scenario, "--host", host, "--out", str(out), *settings),
        stdout=subprocess.DEVNULL,
    )
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return Speed(
        requests=summary["load"]["succeeded"],
        failed=summary["load"]["failed"],
        ttft_s=summary["latency"]["ttft"]["p50_s"],
        tpot_s=summary["latency"]["tpot"]["p50_s"],
        output_tokens_per_s=summary["tokens"]["output_per_s"],
    )


def _own_bytes(host: int) -> int:
    """Of a process and all below it, what no other shares with them."""
    root = psutil.Process(host)
    return sum(each.memory_full_info().uss for each in (root, *root.children(recursive=True)))


def _reason(text: str) -> str:
    """The one line of a log that says why an engine did not start."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if "EngineStartError: " in line]
    return (told or lines)[-1].partition("EngineStartError: ")[2] or lines[0]
