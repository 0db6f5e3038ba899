"""With several gateways: a client gets the rest of its stream from whichever it comes back to, and
a changed spec replaces every gateway and every engine under load, unnoticed."""

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import openai
import psutil
import pytest
import yaml

from loadtest.chaos.answers import difference
from loadtest.chaos.kinds import KINDS, PLAIN
from loadtest.chaos.own import Deployer
from serve_app.settings import WIRE_SECRET_ENV
from tests.integration.fleet import ENGINE, Fleet
from tests.integration.playing import Played, play_all
from tests.integration.test_client_resume import Client, undisturbed
from tests.waiting import eventually

OLD, NEW = "0123456789abcdef" * 2, "fedcba9876543210" * 2
SPEC = f"""
models:
  - name: demo
    source: demo
    engine: {ENGINE}
    resources: {{cpus: 0.2}}
    env: {{{WIRE_SECRET_ENV}: "{OLD}"}}
gateway: {{replicas: 2, cpus: 0.2, env: {{{WIRE_SECRET_ENV}: "{OLD}"}}}}
"""
LOAD = [kind for kind in KINDS if kind.name in ("chat", "completion", "seeded", "not streamed")]
AT_ONCE = 3
UPGRADED_WITHIN_S = 300.0
CUTS = (400, 3000, 3000, 3000, 3000, 3000)


@pytest.fixture(scope="module")
def two_gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet.start(tmp_path_factory.mktemp("gateways"), SPEC)
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        printed = fleet.stop()
    assert "no process left" in printed


def test_a_stream_is_resumed_through_either_gateway(two_gateways: Fleet) -> None:
    path, body = "/v1/completions", {"model": "demo", "stream": True, **PLAIN.body}
    expected = undisturbed(two_gateways, path, body)
    owners = set()
    for _ in range(4):
        client = Client(two_gateways, path, body)
        for most_bytes in CUTS:
            client.read(most_bytes)
        client.read()
        assert client.text == expected
        owners.add(client.ids[0].partition(".")[0])
    assert len(owners) == 2, "HAProxy chose the same gateway for every stream"
    assert resumed_at_peers(two_gateways), "HAProxy sent every client back to its first gateway"


def resumed_at_peers(fleet: Fleet) -> bool:
    """Whether any of some gateways has had a client back whose stream the other keeps."""
    texts = [fleet.http.get("/metrics").text for _ in range(8)]
    return any('tokenfleet_stream_resumes_total{kept="peer"}' in text for text in texts)


def test_a_new_wire_secret_is_rolled_out_under_load_and_no_request_fails(
    two_gateways: Fleet, tmp_path: Path
) -> None:
    asyncio.run(_upgrade_under_load(two_gateways, _changed_spec(tmp_path)))


def _changed_spec(folder: Path) -> Path:
    """The first step of a new wire secret: both are accepted."""
    spec = yaml.safe_load(SPEC)
    for part in (*spec["models"], spec["gateway"]):
        part["env"] = {WIRE_SECRET_ENV: f"{OLD},{NEW}"}
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


async def _upgrade_under_load(fleet: Fleet, changed: Path) -> None:
    expected = {each.kind.name: each.answer for each in await play_all(fleet, LOAD)}
    before = replicas(fleet)
    played: list[Played] = []
    upgraded = asyncio.Event()
    deployer = await Deployer.start(fleet.folder)
    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(_ask_until(upgraded, fleet, played))
        await deployer.deploy(changed)
        await eventually(
            lambda: len(now := replicas(fleet)) == len(before) and now.isdisjoint(before),
            within_s=UPGRADED_WITHIN_S,
            what="every engine and every gateway is another",
        )
        upgraded.set()
    await deployer.stop()
    for each in played:
        assert difference(each.answer, expected[each.kind.name]) is None
    assert len(played) > len(LOAD)


async def _ask_until(upgraded: asyncio.Event, fleet: Fleet, played: list[Played]) -> None:
    async with fleet.client() as client:
        for kind in cycle(LOAD):
            if upgraded.is_set():
                return
            answered = Played(kind)
            await answered.play(client)
            if hung_up_on(answered):
                answered = Played(kind)
                await answered.play(client)
            played.append(answered)


def hung_up_on(played: Played) -> bool:
    """Whether the connection was closed before a word was said. HAProxy does that where a gateway,
    about to end, closes the connection to it that it takes up again at that moment: then a client
    is to send its request again (RFC 9112, 9.3.1), as SDKs do unless told not to."""
    return type(played.error) is openai.APIConnectionError and not played.parts


def replicas(fleet: Fleet) -> set[int]:
    """The pids of all of a fleet's gateways and engine hosts, and of no other fleet's."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            is_replica = "ray::ServeReplica" in "".join(process.cmdline()[:1])
            if is_replica and process.environ().get("RAY_TMPDIR") == str(fleet.folder):
                found.add(process.pid)
    return found
