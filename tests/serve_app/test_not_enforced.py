"""A spec whose tenants nobody would ask for their keys is not served to everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.spec import SpecError, parse
from serve_app import cli, not_enforced

MODEL = {"name": "demo", "source": "demo"}
TENANT = {"name": "search", "key_hashes": ["0" * 64]}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"tenants": [TENANT]}, "tenants"),
        ({"tenants_file": "/secrets/tenants.yaml"}, "tenants_file"),
        ({"gateway": {"admission": {"max_queued_requests": 5}}}, "gateway.admission"),
        ({"models": [MODEL | {"max_wait_s": 5.0}]}, "models[0].max_wait_s"),
    ],
)
def test_what_nothing_acts_on_is_refused(part: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError) as raised:
        not_enforced.check(parse({"models": [MODEL]} | part))
    assert raised.value.violations == ((path, not_enforced.WHY),)


def test_a_spec_without_any_of_it_is_fine() -> None:
    not_enforced.check(parse({"models": [MODEL]}))


def test_the_check_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("models: [{name: demo, source: demo}]\ntenants_file: /t.yaml\n")
    assert cli.main(["check", str(spec)]) != 0
    assert f"tenants_file: {not_enforced.WHY}" in capsys.readouterr().err
