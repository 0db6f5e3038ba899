"""Builders of tenants, engines and requests for admission."""

from __future__ import annotations

import dataclasses
from typing import Any

from cluster.admission.admission import Admission
from cluster.admission.boundary import Offer
from cluster.admission.engine_room import EngineState
from cluster.admission.keyring import key_hash
from cluster.admission.model_queue import ModelLimits
from cluster.admission.tenants import Tenant
from cluster.admission_spec import AdmissionSpec
from cluster.types import ReplicaId, ReplicaSnapshot, StepCost

COST = StepCost(base_s=0.01, prefill_token_s=50e-6, decode_request_s=50e-6)


def tenant(name: str = "a", *keys: str, **fields: Any) -> Tenant:
    return Tenant(name=name, key_hashes=tuple(key_hash(key) for key in keys), **fields)


def engine(name: str = "e", **fields: Any) -> EngineState:
    """An idle one of known cost, unless told otherwise."""
    own = {field.name for field in dataclasses.fields(EngineState)} - {"snapshot"}
    state = {key: fields.pop(key) for key in own & fields.keys()}
    snapshot = ReplicaSnapshot(id=ReplicaId(name), **{"step_cost": COST, **fields})
    return EngineState(snapshot=snapshot, **state)


def full(name: str = "e", **fields: Any) -> EngineState:
    """One that runs as much as it may."""
    return engine(name, **{"running_requests": 300, "inflight_requests": 300, **fields})


def admission(
    *tenants: Tenant, gateway: str = "g", share: float = 1.0, **changes: Any
) -> Admission:
    """One model `m`."""
    limits = ModelLimits(
        max_wait_s=changes.pop("max_wait_s", 30.0),
        hold_timeout_s=changes.pop("hold_timeout_s", 120.0),
        itl_s=changes.pop("itl_s", None),
    )
    return Admission(
        gateway=gateway,
        tenants=tenants or (tenant(),),
        models={"m": limits},
        spec=AdmissionSpec(**changes),
        initial_share=share,
        now_s=0.0,
    )


def offer(
    request_id: str,
    of: Tenant | None = None,
    prompt_tokens: int = 100,
    max_output_tokens: int | None = 50,
) -> Offer:
    return Offer(
        request_id=request_id,
        tenant=of or tenant(),
        model="m",
        prompt_tokens=prompt_tokens,
        max_output_tokens=max_output_tokens,
    )
