"""The cluster's store, and the shape of Ray's that it leans on."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import ray
from ray._raylet import InnerGcsClient
from ray.experimental import internal_kv

import serve_app
from serve_app import cluster_store
from tests.serve_app.gcs import Gcs


@pytest.fixture(autouse=True)
def gcs(monkeypatch) -> Gcs:
    gcs = Gcs()
    monkeypatch.setattr(internal_kv, "global_gcs_client", gcs)
    return gcs


def test_it_keeps_lists_and_forgets_in_a_namespace_of_its_own(gcs):
    gcs.kept[b"another", b"a/3"] = b"not ours"
    cluster_store.put("a/1", b"one")
    cluster_store.put("a/2", b"two")
    cluster_store.put("b/1", b"three")
    assert sorted(cluster_store.keys("a/")) == ["a/1", "a/2"]
    cluster_store.put("a/1", b"new")
    cluster_store.put("a/2", b"new", overwrite=False)
    assert (cluster_store.get("a/1"), cluster_store.get("a/2")) == (b"new", b"two")
    assert cluster_store.values("a/") == {"a/1": b"new", "a/2": b"two"}
    cluster_store.delete("a/1")
    cluster_store.delete("a/1")
    assert cluster_store.get("a/1") is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: cluster_store.put("a", b""),
        lambda: cluster_store.get("a"),
        lambda: cluster_store.keys("a"),
        lambda: cluster_store.delete("a"),
    ],
    ids=["put", "get", "keys", "delete"],
)
def test_without_ray_every_call_says_so(monkeypatch, call):
    monkeypatch.setattr(internal_kv, "global_gcs_client", None)
    with pytest.raises(RuntimeError, match="not connected"):
        call()


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("_internal_kv_initialized", []),
        ("_internal_kv_get", ["key", "namespace"]),
        ("_internal_kv_put", ["key", "value", "overwrite", "namespace"]),
        ("_internal_kv_list", ["prefix", "namespace"]),
        ("_internal_kv_del", ["key", "del_by_prefix", "namespace"]),
    ],
)
def test_ray_s_store_still_has_this_shape(function, parameters):
    found = list(inspect.signature(getattr(internal_kv, function)).parameters)
    assert found == parameters, (
        f"Ray {ray.__version__} changed internal_kv.{function}; "
        "cluster_store.py was written against 2.60.0"
    )


@pytest.mark.parametrize(
    "call", ["internal_kv_put", "internal_kv_get", "internal_kv_del", "internal_kv_keys"]
)
def test_ray_s_client_of_the_store_is_called_as_the_stand_in_is(call):
    theirs = list(inspect.signature(getattr(InnerGcsClient, call)).parameters)
    ours = list(inspect.signature(getattr(Gcs, call)).parameters)
    assert theirs[: len(ours)] == ours, f"Ray {ray.__version__} changed GcsClient.{call}"


def test_no_other_module_uses_ray_s_private_store():
    folder = Path(serve_app.__file__).parent
    users = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom | ast.Import) and "internal_kv" in ast.unparse(node)
    }
    assert users == {"cluster_store.py"}
