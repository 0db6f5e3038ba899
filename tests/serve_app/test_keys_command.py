"""Keys as the command makes them: shown once, and of use in a spec as printed."""

from __future__ import annotations

import io

import pytest
import yaml

from cluster.admission.keyring import Keyring, key_hash
from cluster.admission.tenants import parse_tenants
from serve_app import cli
from serve_app.keys_command import KEY_PREFIX


def created(capsys: pytest.CaptureFixture[str], name: str = "search") -> tuple[str, str]:
    """The key, and the lines for the file."""
    assert cli.main(["keys", "create", name]) == 0
    printed = capsys.readouterr().out
    (key,) = [word for word in printed.split() if word.startswith(KEY_PREFIX)]
    return key, printed[printed.index("  - name:") :]


def test_what_is_printed_lets_the_key_in(capsys: pytest.CaptureFixture[str]) -> None:
    key, lines = created(capsys)
    tenants = parse_tenants(yaml.safe_load(f"tenants:\n{lines}"), [])
    found = Keyring(tenants).find(key)
    assert found is not None
    assert found.name == "search"
    assert key not in lines


def test_every_key_is_another_and_long(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {created(capsys)[0] for _ in range(5)}
    assert len(keys) == 5
    assert all(len(key.removeprefix(KEY_PREFIX)) >= 43 for key in keys)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65])
def test_a_name_that_no_tenant_may_have_is_refused(name: str) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["keys", "create", "--", name])
    assert raised.value.code == 2


def test_a_key_that_there_is_is_read_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a-key-of-our-own-making\n"))
    assert cli.main(["keys", "hash"]) == 0
    assert capsys.readouterr().out == f"key_hashes: [{key_hash('a-key-of-our-own-making')}]\n"


@pytest.mark.parametrize("text", ["", "short", "two words of sufficient length"])
def test_what_is_no_key_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert cli.main(["keys", "hash"]) == 2
    assert "20 characters or more" in capsys.readouterr().err
