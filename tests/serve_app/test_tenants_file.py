"""The file of tenants while it changes."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
import yaml

from cluster.admission.keyring import key_hash
from cluster.admission.tenants import Tenant
from cluster.spec import SpecError, load
from serve_app import tenants_file
from serve_app.tenants_file import TenantsFile, follow
from tests.waiting import eventually


def write(path: Path, *names: str, **fields: object) -> None:
    rows = [{"name": name, "key_hashes": [key_hash(name)], **fields} for name in names]
    path.write_text(yaml.safe_dump({"tenants": rows}))


def names(tenants: tuple[Tenant, ...] | None) -> list[str] | None:
    return None if tenants is None else [tenant.name for tenant in tenants]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "tenants.yaml", "a", "b")
    return tmp_path / "tenants.yaml"


def test_it_is_read_again_only_when_its_content_changes(path: Path) -> None:
    file = TenantsFile(str(path), ["demo"])
    assert names(file.load()) == ["a", "b"]
    os.utime(path, (1, 1))
    assert file.look() is None
    write(path, "b")
    assert names(file.look()) == ["b"]
    assert file.look() is None


def test_a_secret_that_is_mounted_anew_is_another_file(path: Path, tmp_path: Path) -> None:
    new, link = tmp_path / "new.yaml", tmp_path / "link.yaml"
    link.symlink_to(path)
    file = TenantsFile(str(link), ["demo"])
    file.load()
    write(new, "c")
    link.unlink()
    link.symlink_to(new)
    assert names(file.look()) == ["c"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("tenants: [{name: a}]", "tenants[0].key_hashes: required"),
        ("tenants: [", "not valid YAML"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_became_wrong_changes_nothing_and_is_logged_once(
    path: Path, content: str | None, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = TenantsFile(str(path), ["demo"])
    file.load()
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with caplog.at_level(logging.ERROR, "tokenfleet.gateway"):
        assert [file.look(), file.look()] == [None, None]
    (record,) = caplog.records
    assert why in record.getMessage()
    write(path, "b")
    assert names(file.look()) == ["b"]


def test_at_a_start_it_must_be_right(path: Path) -> None:
    write(path, "a", models=["other"])
    with pytest.raises(SpecError, match="'other' is not one of the models"):
        TenantsFile(str(path), ["demo"]).load()


def test_its_path_may_have_variables(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = TenantsFile("$SECRETS/tenants.yaml", ["demo"])
    monkeypatch.delenv("SECRETS", raising=False)
    with pytest.raises(SpecError, match=r"\$SECRETS is not set here"):
        file.load()
    monkeypatch.setenv("SECRETS", str(path.parent))
    assert names(file.load()) == ["a", "b"]


def test_who_follows_it_is_told_of_each_change(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tenants_file, "LOOK_EVERY_S", 0.001)
    told: list[list[str] | None] = []

    def take(tenants) -> None:
        told.append(names(tenants))
        if len(told) == 1:
            raise RuntimeError("a mistake of ours")

    async def scenario() -> None:
        file = TenantsFile(str(path), ["demo"])
        file.load()
        following = asyncio.ensure_future(follow(file, take))
        for number, name in enumerate(("c", "d"), start=1):
            write(path, name)
            await eventually(lambda number=number: len(told) == number)
        following.cancel()

    asyncio.run(scenario())
    assert told == [["c"], ["d"]]
    assert "the tenants were not changed" in caplog.text


def test_the_spec_s_file_is_beside_the_spec_and_checked_where_it_is(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("models: [{name: demo, source: demo}]\ntenants_file: secrets/t.yaml\n")
    loaded = load(spec)
    assert loaded.tenants_file == str(tmp_path / "secrets" / "t.yaml")
    tenants_file.check(loaded)  # not here
    (tmp_path / "secrets").mkdir()
    write(tmp_path / "secrets" / "t.yaml", "a", weight=0)
    with pytest.raises(SpecError, match=r"tenants\[0\].weight"):
        tenants_file.check(loaded)


@pytest.mark.parametrize("named", ["/etc/tenants.yaml", "~/t.yaml", "$SECRETS/t.yaml"])
def test_other_paths_stay_as_they_are(tmp_path: Path, named: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"models: [{{name: demo, source: demo}}]\ntenants_file: {named}\n")
    assert load(spec).tenants_file == named
