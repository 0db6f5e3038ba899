"""An engine that Serve removes on purpose hands its streams over and goes; one that is added back
takes requests again."""

import asyncio
import time
from pathlib import Path

import psutil
import yaml

from loadtest.chaos.answers import difference
from loadtest.chaos.kinds import KINDS
from loadtest.chaos.own import Deployer
from tests.integration.fleet import Fleet
from tests.integration.playing import Played, cores_of, frozen, play_all, start_all

RUNNING = [kind for kind in KINDS if kind.name in ("chat", "seeded", "JSON schema", "not streamed")]
GONE_WITHIN_S = 30.0  # drained, an engine has nothing to wait for


def spec_with(replicas: int, fleet: Fleet, folder: Path) -> Path:
    """The fleet's spec with so many engines of `demo`, in `folder`."""
    spec = yaml.safe_load(fleet.spec_path.read_text())
    spec["models"][0]["replicas"] = replicas
    path = folder / f"{replicas}.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_streams_leave_the_engine_that_goes_and_no_other_replica_is_touched(
    two_engines: Fleet, tmp_path: Path
) -> None:
    asyncio.run(_scale_down_and_up(two_engines, tmp_path))


async def _scale_down_and_up(fleet: Fleet, folder: Path) -> None:
    undisturbed = await play_all(fleet, RUNNING * 4)
    hosts = {pid: psutil.Process(pid) for pid in _pids(fleet)}
    before = fleet.flights()
    played = [Played(kind) for kind in RUNNING * 4]  # enough for both engines to get some
    deployer = await Deployer.start(fleet.folder)
    try:
        await deployer.deploy(spec_with(2, fleet, folder))  # changes nothing; the next goes fast
        await _scale_amid(fleet, deployer, folder, played, hosts)
    finally:
        await deployer.deploy(spec_with(2, fleet, folder))
        await deployer.stop()
    for mine, expected in zip(played, undisturbed, strict=True):
        assert difference(mine.answer, expected.answer) is None
    after = fleet.flights()
    assert after["failed"] == before["failed"]
    assert after["moved"] > before["moved"], "the gateway stays too: it counts on"
    await asyncio.to_thread(fleet.wait_until_whole)
    assert len(hosts.keys() & _pids(fleet)) == 1


async def _scale_amid(
    fleet: Fleet,
    deployer: Deployer,
    folder: Path,
    played: list[Played],
    hosts: dict[int, psutil.Process],
) -> None:
    """One engine less while all of `played` are in mid-stream, and stand still until it has left
    the fleet: none ends by itself."""
    cores = cores_of(fleet)
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        await start_all(fleet, client, group, played)
        asked_at_s = time.monotonic()
        async with frozen(*cores):
            await deployer.deploy(spec_with(1, fleet, folder))
            await asyncio.to_thread(fleet.wait_for_engines, 1)
        (stays,) = _pids(fleet)
        (goes,) = [host for pid, host in hosts.items() if pid != stays]
        await asyncio.to_thread(psutil.wait_procs, [goes], GONE_WITHIN_S)
        assert time.monotonic() - asked_at_s < GONE_WITHIN_S


def _pids(fleet: Fleet) -> set[int]:
    return {engine["pid"] for engine in fleet.engines()}
