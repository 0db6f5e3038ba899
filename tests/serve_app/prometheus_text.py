"""Reading Prometheus' text format in tests."""

from __future__ import annotations

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families


def samples(text: str) -> dict[str, dict[str, float]]:
    """Sample name -> model -> value, leaving out the buckets."""
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "le" not in sample.labels:
                by_model = found.setdefault(sample.name, {})
                by_model[sample.labels.get("model_name", "")] = sample.value
    return found


def comments(text: str) -> Counter[str]:
    """How often each HELP and TYPE line's subject occurs."""
    lines = [line for line in text.splitlines() if line.startswith("#")]
    return Counter(" ".join(line.split()[:3]) for line in lines)
