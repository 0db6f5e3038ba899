"""Where the wire's secrets come from."""

from __future__ import annotations

import pytest
from ray.experimental import internal_kv

from serve_app import settings, wire_secret
from serve_app.wire_security import WireKeys
from tests.serve_app.gcs import Gcs

LONG, OTHER = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch):
    monkeypatch.delenv(settings.WIRE_SECRET_ENV, raising=False)


@pytest.fixture
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    return gcs


@pytest.mark.parametrize(
    ("given", "found"),
    [
        pytest.param(None, (), id="not set"),
        pytest.param(LONG, (LONG,), id="one"),
        pytest.param(f"{LONG},{OTHER}", (LONG, OTHER), id="two, the first in use"),
        pytest.param(f" {LONG} ,\n{OTHER}\n", (LONG, OTHER), id="as files and manifests have them"),
    ],
)
def test_secrets_are_given_by_the_environment(monkeypatch, given, found):
    if given is not None:
        monkeypatch.setenv(settings.WIRE_SECRET_ENV, given)
    assert settings.wire_secrets() == found


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        pytest.param("", "secret 1 of 1 has 0 characters", id="empty"),
        pytest.param(LONG[:-1], "secret 1 of 1 has 31 characters", id="too short"),
        pytest.param(f"{LONG},hunter2", "secret 2 of 2 has 7 characters", id="the second"),
        pytest.param(f"{LONG},", "secret 2 of 2 has 0 characters", id="a comma too many"),
    ],
)
def test_a_bad_secret_is_refused_unshown(monkeypatch, given, complaint):
    monkeypatch.setenv(settings.WIRE_SECRET_ENV, given)
    with pytest.raises(ValueError, match="at least 32 are needed") as error:
        settings.wire_secrets()
    assert f"{settings.WIRE_SECRET_ENV}: {complaint}" in str(error.value)
    assert "hunter2" not in str(error.value)
    assert LONG[:-1] not in str(error.value)


def test_a_given_secret_is_used_and_the_cluster_makes_none(monkeypatch, gcs):
    monkeypatch.setenv(settings.WIRE_SECRET_ENV, f"{LONG},{OTHER}")
    assert wire_secret.keys() == WireKeys.of([LONG, OTHER])
    assert gcs.kept == {}


def test_a_cluster_that_was_given_none_makes_one_for_all_its_processes(gcs):
    first = wire_secret.keys()
    assert wire_secret.keys() == first
    ((place, secret),) = gcs.kept.items()
    assert place == (b"tokenfleet", b"wire_secret")
    assert WireKeys.of([secret.decode()]) == first
    assert len(secret) >= settings.WIRE_SECRET_MIN_CHARACTERS


def test_two_clusters_make_different_ones(monkeypatch, gcs):
    first = wire_secret.keys()
    monkeypatch.setattr(internal_kv, "global_gcs_client", Gcs())
    assert wire_secret.keys() != first


def test_of_two_processes_that_start_at_once_the_first_decides(gcs):
    gcs.first_other = LONG.encode()
    assert wire_secret.keys() == WireKeys.of([LONG])


def test_a_store_that_does_not_keep_it_is_no_reason_to_go_on(monkeypatch, gcs):
    monkeypatch.setattr(gcs, "internal_kv_get", lambda key, namespace: None)
    with pytest.raises(RuntimeError, match="did not keep"):
        wire_secret.keys()


def test_without_ray_there_is_no_secret(monkeypatch):
    monkeypatch.setattr(internal_kv, "global_gcs_client", None)
    with pytest.raises(RuntimeError, match="not connected"):
        wire_secret.keys()
