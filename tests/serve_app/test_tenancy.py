"""A gateway's tenants from its start on: where they come from, who is told, when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.experimental import internal_kv

from cluster.admission.keyring import key_hash
from cluster.admission.reconciler import ShareAnswer, ShareReport
from cluster.admission.tenants import OPEN, Tenant
from cluster.spec import SpecError, parse
from serve_app import serve_address, tenants_file
from serve_app.errors import KeyNeededError
from serve_app.limit_shares import LimitShares
from serve_app.tenancy import Tenancy
from tests.serve_app.gcs import Gcs
from tests.serve_app.tenants import bearer, key_of
from tests.serve_app.test_access_control import scope_with
from tests.serve_app.test_limit_shares import Handle
from tests.serve_app.test_usage_book import served
from tests.waiting import eventually

MODEL = {"name": "demo", "source": "demo"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_address, "http_host", lambda: "127.0.0.1")
    monkeypatch.setattr(internal_kv, "global_gcs_client", Gcs())
    monkeypatch.delenv("VLLM_API_KEY", raising=False)


def row(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "key_hashes": [key_hash(key_of(name))], **fields}


def tenancy(limits: Any = None, **spec: Any) -> Tenancy:
    parsed = parse({"models": [MODEL], **spec})
    return Tenancy.open(parsed, gateway="gw", app="app", limits=limits)


def call(tenancy: Tenancy, name: str) -> Tenant:
    return tenancy.access.caller(scope_with(authorization=bearer(name)["Authorization"])).tenant


class Desk:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.tenants: list[list[str]] = []
        self.answers: list[ShareAnswer] = []

    def have_tenants(self, tenants: Sequence[Tenant]) -> None:
        self.tenants.append([tenant.name for tenant in tenants])

    def share_report(self) -> ShareReport:
        return ShareReport(gateway="gw", number=1, claims={})

    def have_shares(self, answer: ShareAnswer) -> None:
        self.answers.append(answer)

    def share_room(self, share: float) -> None:
        raise AssertionError("the gateway's to say")


def test_without_tenants_everyone_is_open_and_the_log_warns(caplog) -> None:
    with caplog.at_level("WARNING", "tokenfleet.gateway"):
        opened = tenancy()
    assert opened.tenants == (OPEN,)
    assert call(opened, "anyone") is OPEN
    assert "no tenants: everyone who reaches 127.0.0.1" in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "node-7"])
def test_where_serve_listens_to_others_an_open_cluster_must_be_meant(monkeypatch, host) -> None:
    monkeypatch.setattr(serve_address, "http_host", lambda: host)
    with pytest.raises(SpecError, match=r"gateway.open: Ray Serve listens at .*open: true"):
        tenancy()
    assert tenancy(gateway={"open": True}).tenants == (OPEN,)
    assert tenancy(tenants=[row("a")]).tenants[0].name == "a"


def test_vllm_s_own_key_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "secret-of-ours")
    with pytest.raises(SpecError, match="VLLM_API_KEY is set") as raised:
        tenancy()
    assert "secret-of-ours" not in str(raised.value)


def test_the_spec_s_tenants_have_their_keys() -> None:
    opened = tenancy(tenants=[row("a"), row("b")])
    assert call(opened, "b") is opened.tenants[1]
    with pytest.raises(KeyNeededError):
        call(opened, "c")


def test_a_changed_file_reaches_admission_and_keys(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tenants_file, "LOOK_EVERY_S", 0.001)
    path, desk = tmp_path / "tenants.yaml", Desk()
    path.write_text(yaml.safe_dump({"tenants": [row("a"), row("b")]}))

    async def scenario() -> None:
        opened = tenancy(tenants_file=str(path))
        running = asyncio.ensure_future(opened.run(desk))
        assert call(opened, "a").name == "a"
        path.write_text(yaml.safe_dump({"tenants": [row("b")]}))
        await eventually(lambda: desk.tenants == [["b"]])
        with pytest.raises(KeyNeededError):
            call(opened, "a")
        assert call(opened, "b").name == "b"
        running.cancel()

    asyncio.run(scenario())


def test_its_shares_are_reported_while_it_runs_and_it_says_when_it_leaves() -> None:
    limits, desk = LimitShares(), Desk()

    async def scenario() -> None:
        opened = tenancy(Handle(limits), tenants=[row("a")])
        running = asyncio.ensure_future(opened.run(desk))
        await eventually(lambda: desk.answers)
        assert limits._reconciler.gateways == ("gw",)
        running.cancel()
        await opened.close("gw")
        assert limits._reconciler.gateways == ()

    asyncio.run(scenario())


def test_the_ledger_is_where_the_spec_says(tmp_path: Path) -> None:
    opened = tenancy(gateway={"usage_ledger": str(tmp_path / "ledger")})
    opened.usage.told(served())
    asyncio.run(opened.close("gw"))
    (file,) = (tmp_path / "ledger").iterdir()
    assert file.read_text().count("\n") == 1


def test_a_ledger_that_cannot_be_written_is_a_wrong_spec(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpecError, match=r"gateway.usage_ledger: .* cannot be written"):
        tenancy(gateway={"usage_ledger": str(tmp_path / "file")})
    with pytest.raises(SpecError, match=r"\$NOWHERE is not set"):
        tenancy(gateway={"usage_ledger": "$NOWHERE/x"})
