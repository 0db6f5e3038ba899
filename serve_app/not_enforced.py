"""What a spec can say of tenants and queues, and nothing acts on yet.

`cluster.admission` decides it all; no gateway asks it so far. A spec that says who may use the
cluster must not be served to everyone, so it is refused.
"""

from __future__ import annotations

from cluster.spec import ClusterSpec, ModelSpec, SpecError

WHY = "is not enforced by this version; take it out"


def check(spec: ClusterSpec) -> None:
    """Raises SpecError with every part of `spec` that would have no effect."""
    found = [name for name in ("tenants", "tenants_file") if getattr(spec, name)]
    if spec.gateway.admission != type(spec.gateway.admission)():
        found.append("gateway.admission")
    default_s = ModelSpec.model_fields["max_wait_s"].default
    found += [
        f"models[{index}].max_wait_s"
        for index, model in enumerate(spec.models)
        if model.max_wait_s != default_s
    ]
    if found:
        raise SpecError([(path, WHY) for path in found])
