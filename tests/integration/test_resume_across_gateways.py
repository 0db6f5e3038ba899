"""With several gateways, a client gets the rest of its stream from whichever it comes back to."""

from collections.abc import Iterator

import pytest

from loadtest.chaos.kinds import PLAIN
from tests.integration.fleet import ENGINE, Fleet
from tests.integration.test_client_resume import Client, undisturbed

SPEC = f"""
models:
  - name: demo
    source: demo
    engine: {ENGINE}
    resources: {{cpus: 0.2}}
gateway: {{replicas: 2, cpus: 0.2}}
"""
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
