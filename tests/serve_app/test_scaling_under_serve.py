"""Our policies inside Serve's own autoscaling state, as its controller runs them: pins what of Ray
2.60.0 they lean on. No Ray runs; replicas come and go as Serve's targets say."""

from __future__ import annotations

import pytest
from ray.experimental import internal_kv
from ray.serve._private.autoscaling_state import DeploymentAutoscalingState
from ray.serve._private.common import (
    DeploymentID,
    ReplicaID,
    ReplicaMetricReport,
    TimeStampedValue,
)
from ray.serve._private.config import DeploymentConfig, ReplicaConfig
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingConfig

from cluster.spec import parse
from serve_app import autoscaling, scaling_board, scaling_config, scaling_record
from serve_app.scaling_stats import PREFIX, GatewayStats, Stats, gateway_stats
from tests.serve_app.gcs import Gcs
from tests.serve_app.scaling_contexts import APP, ENGINES, gateway
from tests.serve_app.test_paced_policies import Clock

IDLE_S = 30.0
SPEC = {
    "models": [{"name": "demo", "source": "demo", "scaling": {"min": 0, "max": 3, "idle_s": 30}}]
}


@pytest.fixture(autouse=True)
def _store(monkeypatch) -> None:
    monkeypatch.setattr(internal_kv, "global_gcs_client", Gcs())
    scaling_board.clear()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(autoscaling, "time", clock)
    return clock


class Scaled:
    """A deployment as the controller has it: what it is configured to, wants, and has."""

    def __init__(self, name: str, config: AutoscalingConfig) -> None:
        self.id = DeploymentID(name=name, app_name=APP)
        self.state = DeploymentAutoscalingState(self.id)
        self.names = 0
        self.running: list[ReplicaID] = []
        self.target = -1  # what Serve has before the first deploy
        self.deploy(config)

    def deploy(self, config: AutoscalingConfig) -> None:
        # By way of the protobuf, as from the one who deploys.
        sent = DeploymentConfig(autoscaling_config=config).to_proto_bytes()
        received = DeploymentConfig.from_proto_bytes(sent)
        info = DeploymentInfo(received, ReplicaConfig.create(lambda: None), 0, "job", version="1")
        self.target = self.state.register(info, self.target)

    def turn(self, at_s: float, said: Stats) -> int:
        """Every replica reports; Serve asks the policy; replicas follow at once."""
        for replica in self.running:
            metrics = {key: [TimeStampedValue(at_s, value)] for key, value in said.items()}
            report = ReplicaMetricReport(replica_id=replica, metrics=metrics, timestamp=at_s)
            self.state.record_request_metrics_for_replica(report)
        self.target = self.state.get_decision_num_replicas(self.target)
        while len(self.running) < self.target:
            self.names += 1
            self.running.append(ReplicaID(f"{self.id.name}-{self.names}", self.id))
        while len(self.running) > self.target:
            self.state.on_replica_stopped(self.running.pop())
        self.state.update_running_replica_ids(list(self.running))
        return self.target


class Cluster:
    def __init__(self, clock: Clock) -> None:
        spec = parse(SPEC)
        self.clock = clock
        self.gateways = Scaled("Gateway", scaling_config.of_gateways(spec.gateway))
        self.engines = Scaled(ENGINES, scaling_config.of_engines(spec.models[0]))

    def turn(self, after_s: float, gateway_says: GatewayStats, running: int = 0) -> int:
        """The engines that are wanted `after_s` later."""
        self.clock.now_s += after_s
        self.gateways.turn(self.clock.now_s, gateway_stats(gateway_says))
        return self.engines.turn(self.clock.now_s, {PREFIX + "running_requests": running})


def test_a_deployment_starts_with_an_engine_sleeps_and_wakes(clock):
    cluster = Cluster(clock)
    assert (cluster.gateways.target, cluster.engines.target) == (1, 0)
    assert cluster.turn(1.0, gateway()) == 1  # to learn from
    assert cluster.turn(1.0, gateway(built=False)) == 1
    assert cluster.turn(IDLE_S / 2, gateway()) == 1
    assert cluster.turn(IDLE_S, gateway()) == 0
    assert cluster.turn(1.0, gateway()) == 0
    assert cluster.turn(0.5, gateway(held=1)) == 1
    assert cluster.turn(0.5, gateway(requests=1), running=1) == 1
    assert cluster.turn(3 * IDLE_S, gateway(requests=1), running=1) == 1
    reasons = [change.reason for change in (scaling_record.read(APP, ENGINES) or _none()).changes]
    assert reasons == ["first", "idle", "held"]


def _none():
    raise AssertionError("nothing was written")


def test_a_deploy_that_changes_the_bounds_keeps_the_engines_that_there_are(clock):
    cluster = Cluster(clock)
    cluster.turn(1.0, gateway())
    cluster.engines.target = 3
    more = {**SPEC["models"][0], "scaling": {"min": 1, "max": 9}}
    cluster.engines.deploy(scaling_config.of_engines(parse({"models": [more]}).models[0]))
    assert cluster.engines.target == 3
    assert cluster.turn(1.0, gateway(), running=1) == 3


def test_serve_goes_from_several_to_none_by_way_of_one(clock):
    cluster = Cluster(clock)
    cluster.turn(1.0, gateway())
    cluster.engines.target = 3
    for after_s in (1.0, 1.0, IDLE_S):
        wanted = cluster.turn(after_s, gateway())
    assert wanted == 1
    assert cluster.turn(1.0, gateway()) == 0


def test_a_fixed_number_of_gateways_stays_whatever_they_bear(clock):
    cluster = Cluster(clock)
    for _ in range(3):
        cluster.turn(60.0, gateway(streams=10_000, lag_s=1.0))
    assert cluster.gateways.target == 1
