"""What `k8s/overlays/dev-cpu` renders, on nodes of this machine instead of pods: it is deployed,
and a node that has an engine dies in the middle of answers."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from cluster.spec import load
from loadtest.chaos.kinds import KINDS
from loadtest.procstat import Role, role_of, server_processes
from serve_app import process_tree
from serve_app.k8s_render import render
from tests.integration.fleet import ANSWER_WITHIN_S, Fleet
from tests.integration.nodes import HOST, Nodes, raylet_of
from tests.integration.playing import UNDER_WAY_PARTS, Played, play_all
from tests.integration.test_failover_matrix import assert_same
from tests.waiting import eventually, until

SPEC = Path(__file__).parents[2] / "k8s" / "overlays" / "dev-cpu" / "spec.yaml"
READY_WITHIN_S = 300.0
LOAD = [
    kind
    for kind in KINDS
    if kind.name
    in ("chat", "completion", "seeded", "several choices", "chat logprobs", "not streamed")
]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """The head, which has no workload, and two nodes for what the gateways' and engines' pods
    run."""
    process_tree.adopt_orphans()
    with (
        tempfile.TemporaryDirectory(prefix="tf-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        ExitStack() as stack,
    ):
        nodes = Nodes(render(load(SPEC)), Path(folder), stack)
        nodes.add("gateways")
        nodes.add("engines-demo")
        nodes.deploy()
        yield nodes


@pytest.fixture
def deployed(nodes: Nodes, tmp_path: Path) -> Iterator[Fleet]:
    with httpx2.Client(
        base_url=f"http://{HOST}:{nodes.port}", timeout=ANSWER_WITHIN_S, trust_env=False
    ) as http:
        fleet = Fleet(load(SPEC), nodes.head, tmp_path / "no.log", http)
        until(lambda: _is_served(http), within_s=READY_WITHIN_S, what="the gateway answers")
        fleet.wait_until_whole()
        yield fleet


def _is_served(http: httpx2.Client) -> bool:
    try:
        return http.get("/ready", timeout=5.0).status_code in (200, 503)
    except httpx2.TransportError:
        return False


def test_a_node_dies_under_load_and_no_request_fails(nodes: Nodes, deployed: Fleet) -> None:
    undisturbed = asyncio.run(play_all(deployed, LOAD))
    played = asyncio.run(_lose_a_node(nodes, deployed))
    for before, after in zip(undisturbed, played, strict=True):
        assert_same(after.answer, before.answer)
    flights = deployed.flights()
    assert flights["failed"] == 0
    assert flights["moved"] > 0


async def _lose_a_node(nodes: Nodes, fleet: Fleet) -> list[Played]:
    (gateway,) = (
        each.pid for each in server_processes(nodes.port) if role_of(each.title) is Role.GATEWAY
    )
    kept = raylet_of(gateway)
    raylets = [raylet_of(engine["pid"]) for engine in fleet.engines()]
    lost = next(raylet for raylet in raylets if raylet != kept)
    played = [Played(kind) for kind in LOAD]
    async with fleet.client() as client, asyncio.TaskGroup() as group:
        for each in played:
            group.create_task(each.play(client))
        streams = [each for each in played if each.kind.stream]
        await eventually(
            lambda: all(len(each.parts) >= UNDER_WAY_PARTS for each in streams),
            what="every stream flows",
        )
        early = [each.kind.name for each in played if each.ended]
        assert not early, f"too short to be met in mid-stream: {early}"
        lost.kill()
    return played
