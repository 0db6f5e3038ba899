"""Where Serve listens, and the shape of Ray's client that this leans on."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from ray.serve import context
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import HTTPOptions

import serve_app
from serve_app import serve_address


class Client:
    def __init__(self, host: str | None) -> None:
        self.http_config = HTTPOptions(host=host)


@pytest.mark.parametrize(
    ("bound", "host"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "0.0.0.0"), (None, "0.0.0.0")]
)
def test_it_is_what_serve_s_controller_says(monkeypatch, bound: str | None, host: str) -> None:
    monkeypatch.setattr(context, "_get_global_client", lambda: Client(bound))
    assert serve_address.http_host() == host


def test_ray_still_has_what_is_used() -> None:
    parameters = inspect.signature(context._get_global_client).parameters
    assert all(each.default is not inspect.Parameter.empty for each in parameters.values())
    assert isinstance(inspect.getattr_static(ServeControllerClient, "http_config"), property)


def test_no_other_module_asks_ray_s_client() -> None:
    users = []
    for path in Path(serve_app.__file__).parent.rglob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Attribute)}  # fmt: skip
        if "_get_global_client" in names:
            users.append(path.name)
    assert users == ["serve_address.py"]
