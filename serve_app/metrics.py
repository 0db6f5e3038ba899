"""The metrics of several registries as one Prometheus text.

Every model's vLLM metrics have a registry of their own (see `serve_app.vllm_private`), so the same
family may exist once per model. The text format allows one HELP and one TYPE line per family, so
families of one name are joined before they are written; their samples differ in `model_name`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector


def metrics_text(registries: Sequence[CollectorRegistry]) -> bytes:
    """All metrics in Prometheus' text format; where types differ, the first registry's holds."""
    return generate_latest(_Joined(registries))


class _Joined(Collector):
    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = registries

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for found in (family for registry in self._registries for family in registry.collect()):
            fresh = Metric(found.name, found.documentation, found.type, found.unit)
            families.setdefault(found.name, fresh).samples.extend(found.samples)
        return families.values()
