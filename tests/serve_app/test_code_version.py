"""What a later deploy replaces: that whose arguments changed, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from ray.serve._private import client
from ray.serve._private.utils import get_random_string

from cluster.spec import ClusterSpec, load, resolve_devices
from serve_app import code_version, examples
from serve_app.app import application


def spec(**changes: Any) -> ClusterSpec:
    """The chaos test's spec, with other values in its first model."""
    read = resolve_devices(load(examples.find("spec-chaos.yaml")), gpu_build=False)
    first, *others = read.models
    return read.model_copy(update={"models": (first.model_copy(update=changes), *others)})


def versions(of: ClusterSpec) -> tuple[str, ...]:
    """Of the gateway, then of each model's engines: what Serve would be sent."""
    gateway = application(of)._bound_deployment
    engines = [engine._bound_deployment for engine in gateway.init_kwargs.values()]
    return tuple(each.version for each in (gateway, *engines))


def test_the_number_of_engines_alone_changes_no_version() -> None:
    assert versions(spec(replicas=4)) == versions(spec())


def test_the_order_of_keys_alone_changes_no_version() -> None:
    engine = spec().models[0].engine
    assert versions(spec(engine=dict(reversed(engine.items())))) == versions(spec(engine=engine))


def test_other_code_changes_every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions(spec())
    monkeypatch.setattr(code_version, "_code", lambda: "edited")
    assert not set(versions(spec())) & set(before)


def test_another_environment_of_a_model_replaces_its_engines_and_no_gateway() -> None:
    one, other = (versions(spec(env={"A": value})) for value in "12")
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_another_environment_of_the_gateways_replaces_no_engine() -> None:
    before = spec()
    gateway = before.gateway.model_copy(update={"env": {"A": "1"}})
    one, other = (versions(s) for s in (before, before.model_copy(update={"gateway": gateway})))
    assert one[0] != other[0]
    assert one[1] == other[1]


def test_serve_takes_the_version_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's imperative deploy makes one up only where a deployment has none. This is not public:
    were it to change, every `serve run` of another number of engines would replace all of them."""
    sent: list[str] = []

    class Stop(Exception):
        pass

    def get_deploy_args(*_: Any, **arguments: Any) -> None:
        sent.append(arguments["version"])
        raise Stop

    assert client.get_random_string is get_random_string
    monkeypatch.setattr(client, "get_deploy_args", get_deploy_args)
    monkeypatch.setattr(client.ray, "get", lambda _: None)
    built = client_built(application(spec()))
    with pytest.raises(Stop):
        client.ServeControllerClient.deploy_applications(FakeClient(), [built])
    assert sent[0] in versions(spec())


class FakeClient:
    """Enough of Serve's client for it to look at a deployment."""

    _shutdown = False

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def client_built(app: Any) -> Any:
    from ray.serve._private.build_app import build_app

    return build_app(app, name="default", route_prefix="/", make_deployment_handle=lambda *_: None)
