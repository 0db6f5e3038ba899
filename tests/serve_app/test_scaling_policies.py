"""What Serve's controller gets of us: classes by value, which there find the rest, and no vLLM."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from ray.serve.config import AutoscalingConfig

from cluster.spec import parse
from serve_app import scaling_config

SPEC = parse(
    {
        "models": [{"name": "org/demo", "source": "demo", "scaling": {"min": 0, "max": 3}}],
        "gateway": {"scaling": {"min": 1, "max": 3}},
    }
)
CONTROLLER = """
import base64, json, sys
from ray import cloudpickle
policy = cloudpickle.loads(base64.b64decode(sys.argv[1]))
policy(**json.loads(sys.argv[2]))
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize(
    "config",
    [
        scaling_config.of_engines(SPEC.models[0]),
        scaling_config.of_gateways(SPEC.gateway),
        scaling_config.of_gateways(parse({"models": [{"name": "m", "source": "demo"}]}).gateway),
    ],
    ids=["engines", "gateways", "a fixed number of gateways"],
)
def test_a_controller_can_make_the_policy_and_stays_without_vllm(config: AutoscalingConfig) -> None:
    policy = config.policy
    arguments = [
        base64.b64encode(policy.get_serialized_policy_def()).decode(),
        json.dumps(policy.policy_kwargs),
    ]
    command = [sys.executable, "-W", "ignore", "-c", CONTROLLER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout.splitlines()[-1]))
    assert "serve_app.autoscaling" in modules
    assert modules.isdisjoint({"vllm", "torch", "serve_app.app", "serve_app.scaling_policies"})
