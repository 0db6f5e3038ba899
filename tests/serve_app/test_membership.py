"""Membership as Serve tells it: every listener hears the newest set of engines last."""

from __future__ import annotations

import asyncio
import inspect
import threading
from dataclasses import dataclass, fields

import pytest
from ray import cloudpickle
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import RECORD_REPLICA_METADATA_METHOD
from ray.serve.request_router import ReplicaID, RequestRouter, RunningReplica

from serve_app import membership
from serve_app.engine_address import EngineAddress
from serve_app.membership import (
    ENDPOINT_KEY,
    MODEL_KEY,
    MembershipRouter,
    addresses_of,
    metadata_of,
)
from serve_app.replicas import Engine

ENGINES = DeploymentID(name="Engine:demo", app_name="app")
ONE = {"one": EngineAddress("tcp://1", "key 1")}
TWO = ONE | {"two": EngineAddress("tcp://2", "key 2")}


@pytest.fixture(autouse=True)
def _nobody_known(monkeypatch):
    monkeypatch.setattr(membership, "_listeners", {})
    monkeypatch.setattr(membership, "_last_known", {})


def test_a_subscriber_hears_what_is_known_and_then_every_change():
    heard = []
    membership.publish("demo", ONE)
    membership.subscribe("demo", heard.append)
    membership.publish("demo", TWO)
    membership.publish("demo", {})
    assert heard == [ONE, TWO, {}]


def test_a_subscriber_hears_nothing_before_anything_is_known():
    heard = []
    membership.subscribe("demo", heard.append)
    assert heard == []
    membership.publish("demo", ONE)
    assert heard == [ONE]


def test_models_are_kept_apart():
    heard = []
    membership.publish("other", ONE)
    membership.subscribe("demo", heard.append)
    membership.publish("other", TWO)
    assert heard == []


def test_after_unsubscribing_nothing_is_heard_but_all_is_known():
    heard = []
    membership.subscribe("demo", heard.append)
    membership.unsubscribe("demo")
    membership.unsubscribe("demo")  # closing twice is no mistake
    membership.publish("demo", ONE)
    assert heard == []
    membership.subscribe("demo", heard.append)
    assert heard == [ONE]


def test_what_is_known_does_not_change_with_the_publisher_s_dict():
    heard, addresses = [], dict(ONE)
    membership.publish("demo", addresses)
    addresses.clear()
    membership.subscribe("demo", heard.append)
    assert heard == [ONE]


def test_news_that_come_while_one_subscribes_are_heard_last():
    """Subscribing is the gateway's thread, news come from Serve's."""
    heard = []
    news = threading.Thread(target=membership.publish, args=("demo", TWO))

    class Interrupted(dict):
        """What was last known; reading it gives the other thread its chance."""

        def __getitem__(self, model):
            if not news.ident:
                news.start()
                news.join(0.2)
            return ONE

    membership._last_known = Interrupted(demo=ONE)
    membership.subscribe("demo", heard.append)
    news.join(5)
    assert heard[-1] == TWO


@dataclass
class Replica:
    """The part of Serve's `RunningReplica` that is read; making one takes a cluster."""

    replica_id: ReplicaID
    replica_metadata: dict[str, str]


def replica(name: str, **metadata: str) -> Replica:
    return Replica(ReplicaID(unique_id=name, deployment_id=ENGINES), metadata)


@pytest.mark.parametrize("field", fields(Replica), ids=lambda field: field.name)
def test_serve_s_replicas_still_say_so_much(field):
    assert isinstance(getattr(RunningReplica, field.name, None), property), (
        f"Ray changed RunningReplica.{field.name}"
    )


def test_replicas_that_have_not_said_where_they_listen_are_skipped():
    replicas = [
        replica("one", **metadata_of(ONE["one"])),
        replica("starting"),
        replica("keyless", **{ENDPOINT_KEY: "tcp://2"}),
        replica("other", something="else"),
    ]
    assert addresses_of(replicas) == ONE
    assert addresses_of([]) == {}


def test_the_router_takes_no_copy_of_the_state_along():
    """Serve pickles the class by value: what it refers to as a global would be copied with it."""
    cloudpickle.register_pickle_by_value(membership)
    try:
        pickled = cloudpickle.dumps(MembershipRouter)
    finally:
        cloudpickle.unregister_pickle_by_value(membership)
    assert b"MembershipRouter" in pickled
    assert b"_last_known" not in pickled


@pytest.fixture
def serves_own(monkeypatch) -> list:
    """What Serve's own part of the router is told; it would look for the replicas in a cluster."""
    told: list = []
    monkeypatch.setattr(RequestRouter, "update_replicas", lambda self, found: told.append(found))
    return told


@pytest.fixture
def router() -> MembershipRouter:
    """A router in the state that its `initialize_state` makes."""
    made = MembershipRouter.__new__(MembershipRouter)
    made.initialize_state(**{MODEL_KEY: "demo"})
    return made


def test_the_router_publishes_every_set_that_serve_tells_it(router, serves_own):
    heard = []
    membership.subscribe("demo", heard.append)
    replicas = [replica("one", **metadata_of(ONE["one"])), replica("starting")]
    router.update_replicas(replicas)
    router.update_replicas([])
    assert heard == [ONE, {}]
    assert serves_own == [replicas, []]


def test_any_replica_may_take_a_management_call(router):
    assert asyncio.run(router.choose_replicas(["x", "y"])) == [["x", "y"]]


@pytest.mark.parametrize("method", ["initialize_state", "update_replicas", "choose_replicas"])
def test_the_router_overrides_what_serve_calls(method):
    theirs = inspect.signature(getattr(RequestRouter, method)).parameters
    ours = inspect.signature(getattr(MembershipRouter, method)).parameters
    assert list(ours) == list(theirs), f"Ray changed RequestRouter.{method}: {theirs}"


def test_serve_asks_the_engine_by_the_name_it_answers_to():
    assert hasattr(Engine, RECORD_REPLICA_METADATA_METHOD), "Ray renamed the metadata hook"
