"""Where a cluster may listen that asks nobody for a key."""

from typing import Any

import pytest

from cluster.admission.keyless import is_loopback
from cluster.spec import SpecError, parse

MODELS = {"models": [{"name": "demo", "source": "demo"}]}
TENANTS = [{"name": "a", "key_hashes": ["0" * 64]}]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("a-node", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({}, id="at this machine's own address"),
        pytest.param({"ports": {"host": "::1"}}, id="in IPv6"),
        pytest.param({"ports": {"host": "0.0.0.0"}, "gateway": {"open": True}}, id="on purpose"),
        pytest.param({"ports": {"host": "0.0.0.0"}, "tenants": TENANTS}, id="with tenants"),
        pytest.param({"ports": {"host": "0.0.0.0"}, "tenants_file": "/t.yaml"}, id="in a file"),
    ],
)
def test_who_may_listen_where(part: dict[str, Any]) -> None:
    parse(MODELS | part)


@pytest.mark.parametrize(
    ("part", "path", "message"),
    [
        ({"ports": {"host": "0.0.0.0"}}, "ports.host", "0.0.0.0: others reach it"),
        ({"ports": {"host": "0.0.0.0"}, "tenants": []}, "ports.host", "gateway.open: true"),
        ({"gateway": {"open": True}, "tenants": TENANTS}, "gateway.open", "there are tenants"),
        ({"gateway": {"env": {"VLLM_API_KEY": "k"}}}, "gateway.env.VLLM_API_KEY", "tenants"),
    ],
)
def test_what_is_refused(part: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse(MODELS | part)
    ((where, why),) = raised.value.violations
    assert where == path
    assert message in why
