"""Tenants in the spec and in a file of their own: what is accepted, what is said of mistakes."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import spec
from cluster.admission.keyring import key_hash
from cluster.admission.tenants import OPEN, Tenant, load_tenants, parse_tenants
from cluster.admission_spec import AdmissionSpec
from cluster.spec_errors import SpecError

ONE, TWO = key_hash("one"), key_hash("two")


def named(name: str, *hashes: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "key_hashes": list(hashes), **fields}


WRONG = {
    "a name twice": (
        [named("a", ONE), named("a", TWO)],
        {"tenants[1].name": "'a' is already tenants[0].name"},
    ),
    "a hash twice in two tenants": (
        [named("a", ONE), named("b", TWO, ONE)],
        {"tenants[1].key_hashes[1]": "this is already tenants[0].key_hashes[0]"},
    ),
    "a hash twice in one": (
        [named("a", ONE, ONE)],
        {"tenants[0].key_hashes[1]": "this is already tenants[0].key_hashes[0]"},
    ),
    "a hash twice, beside a wrong weight": (
        [named("a", ONE, weight=0.0), named("b", ONE)],
        {
            "tenants[0].weight": "0.0 must be above 0.0",
            "tenants[1].key_hashes[0]": "this is already tenants[0].key_hashes[0]",
        },
    ),
    "a key in place of its hash": (
        [named("a", "tf-secret")],
        {
            "tenants[0].key_hashes[0]": "not 64 lowercase hex digits; it has to be a key's "
            "SHA-256, not the key"
        },
    ),
    "a model there is not": (
        [named("a", ONE, models=["m", "other"])],
        {"tenants[0].models[1]": "'other' is not one of the models"},
    ),
    "a class there is not": (
        [named("a", ONE, priority="urgent")],
        {"tenants[0].priority": "'urgent' is not one of 'interactive' or 'batch'"},
    ),
    "no request a minute": (
        [named("a", ONE, requests_per_min=0)],
        {"tenants[0].requests_per_min": "0 is below the minimum 1"},
    ),
    "a typo": (
        [named("a", ONE, wieght=1.0)],
        {"tenants[0].wieght": "unknown key; did you mean weight?"},
    ),
    "no keys given": ([{"name": "a"}], {"tenants[0].key_hashes": "required, and not given"}),
}


def cluster_spec(**more: Any) -> spec.ClusterSpec:
    return spec.parse({"models": [{"name": "m", "source": "org/m"}], **more})


@pytest.mark.parametrize(("tenants", "found"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_reported_at_its_key_alike_in_both_places(
    tenants: list[Any], found: dict[str, str]
) -> None:
    with pytest.raises(SpecError) as in_spec:
        cluster_spec(tenants=tenants)
    with pytest.raises(SpecError) as in_file:
        parse_tenants({"tenants": tenants}, {"m"})
    assert dict(in_spec.value.violations) == dict(in_file.value.violations) == found


def test_a_key_by_mistake_is_not_in_any_message() -> None:
    for secret in ("tf-secret", 123456789, ["tf-secret"]):
        with pytest.raises(SpecError) as caught:
            cluster_spec(tenants=[{"name": "a", "key_hashes": [secret]}])
        assert "secret" not in str(caught.value)
        assert "123456789" not in str(caught.value)


def test_the_spec_has_tenants_or_names_their_file() -> None:
    with pytest.raises(SpecError, match="tenants_file: set tenants or tenants_file, not both"):
        cluster_spec(tenants=[named("a", ONE)], tenants_file="secret.yaml")
    assert cluster_spec(tenants_file="secret.yaml").tenants == ()


def test_a_file_reads_as_the_spec_does(tmp_path: Path) -> None:
    tenants = [named("a", ONE, TWO, weight=2.5), named("b", priority="batch", models=["m"])]
    file = tmp_path / "tenants.yaml"
    file.write_text(yaml.safe_dump({"tenants": tenants}))
    assert load_tenants(file, {"m"}) == cluster_spec(tenants=tenants).tenants


@pytest.mark.parametrize("content", [None, "tenants: [tf-secret", "tenants: tf-secret", "[]"])
def test_a_file_that_cannot_be_read_is_an_error_that_tells_no_secret(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "tenants.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SpecError) as caught:
        load_tenants(file, {"m"})
    if content != "tenants: tf-secret":  # no list, which pydantic quotes
        assert "tf-secret" not in str(caught.value)


def test_models_are_all_unless_some_are_named() -> None:
    assert OPEN.may_use("m")
    some = Tenant(name="a", key_hashes=(), models=("m",))
    assert some.may_use("m")
    assert not some.may_use("other")


@pytest.mark.parametrize("part", [Tenant, AdmissionSpec])
def test_every_field_says_what_it_means(part: type[Tenant]) -> None:
    assert [name for name, field in part.model_fields.items() if not field.description] == []


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
TENANTS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "key_hashes": st.just([])},
        optional={
            "models": st.sampled_from([[], ["m"]]),
            "requests_per_min": st.integers(1, 10**9),
            "tokens_per_min": st.integers(1, 10**9),
            "max_concurrent": st.integers(1, 10**6),
            "weight": st.floats(0.001, 1000),
            "priority": st.sampled_from(["interactive", "batch"]),
            "max_wait_s": st.floats(0.1, 1e6),
            "admin": st.booleans(),
        },
    ),
    max_size=4,
    unique_by=lambda tenant: tenant["name"],
)


@settings(deadline=None, max_examples=50)
@given(TENANTS)
def test_a_dumped_spec_has_the_same_tenants(tenants: list[dict[str, Any]]) -> None:
    for number, each in enumerate(tenants):
        each["key_hashes"] = [key_hash(str(number))]
    parsed = cluster_spec(tenants=tenants)
    assert spec.parse(yaml.safe_load(spec.dump(parsed))) == parsed
