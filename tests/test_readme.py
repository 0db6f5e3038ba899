"""What the README names exists, and its examples are valid."""

import importlib
import operator
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.admission.keyring import key_hash
from cluster.admission.tenants import parse_tenants
from cluster.spec import load
from serve_app import cli
from serve_app.examples import DEFAULT, find
from tests import readme

NAMED_CODE = sorted(set(re.findall(r"`(\w+/[\w/]+)\.py:([\w.]+)`", readme.TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", readme.TEXT)))
TARGETS = sorted(set(re.findall(r"(?:^|`)make (\w+)", readme.TEXT, re.MULTILINE)))


@pytest.mark.parametrize(("module", "name"), NAMED_CODE)
def test_the_code_it_names_exists(module: str, name: str) -> None:
    operator.attrgetter(name)(importlib.import_module(module.replace("/", ".")))


@pytest.mark.parametrize("link", LINKS)
def test_the_files_it_links_to_exist(link: str) -> None:
    assert (readme.ROOT / link).exists()


@pytest.mark.parametrize("target", TARGETS)
def test_the_make_targets_it_names_exist(target: str) -> None:
    dry = ["make", "--dry-run", "--always-make", target]
    subprocess.run(dry, cwd=readme.ROOT, check=True, stdout=subprocess.DEVNULL)


def test_it_names_all_three() -> None:
    assert len(NAMED_CODE) >= 8
    assert len(LINKS) >= 5
    assert {"serve", "test", "check", "bench", "help"} <= set(TARGETS)


def test_its_spec_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "my-cluster.yaml"
    file.write_text(readme.block("yaml", holding="models:\n"), encoding="utf-8")
    assert cli.main(["check", str(file)]) == 0


def test_its_tenants_are_valid() -> None:
    rows = yaml.safe_load(readme.block("yaml", holding="key_hashes:"))
    assert [each.name for each in parse_tenants(rows, ["llama"])] == ["search", "nightly", "ops"]


def test_the_keys_of_the_example_are_those_that_it_names() -> None:
    text = find("spec-local-tenants.yaml").read_text(encoding="utf-8")
    named = re.findall(r"demo-key-of-(\w+)", text)
    tenants = load(find("spec-local-tenants.yaml")).tenants
    assert [tenant.name for tenant in tenants] == named
    for tenant in tenants:
        assert tenant.key_hashes == (key_hash(f"demo-key-of-{tenant.name}"),)


def test_serve_builds_a_config_file_as_it_says(tmp_path: Path) -> None:
    (command,) = re.findall(r"`TOKENFLEET_SPEC=my-cluster.yaml serve (build .*?)`", readme.TEXT)
    *build, file = command.split()
    written = tmp_path / file
    subprocess.run(
        [Path(sys.executable).with_name("serve"), *build, written],
        env=os.environ | {"TOKENFLEET_SPEC": str(find(DEFAULT))},
        cwd=readme.ROOT,
        check=True,
    )
    (application,) = yaml.safe_load(written.read_text())["applications"]
    assert application["import_path"] == "serve_app:fleet"
    assert "Gateway" in {deployment["name"] for deployment in application["deployments"]}
