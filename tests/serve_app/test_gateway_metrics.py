"""Metrics of several registries as one text that Prometheus accepts."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serve_app.metrics import metrics_text
from tests.serve_app.prometheus_text import comments, samples
from tests.serve_app.stub_models import StubModel, ask, shell


def fill(registry: CollectorRegistry, model: str, value: float = 1.0) -> CollectorRegistry:
    """Metrics named as vLLM names its own, for one model."""
    labels = {"labelnames": ["model_name"], "registry": registry}
    Gauge("vllm:num_requests_running", "Running.", **labels).labels(model).set(value)
    Counter("vllm:generation_tokens", "Tokens.", **labels).labels(model).inc(value)
    Histogram("vllm:ttft_seconds", "TTFT.", buckets=[1, 2], **labels).labels(model).observe(value)
    return registry


@pytest.fixture
def text() -> str:
    registries = [fill(CollectorRegistry(), "one", 3), fill(CollectorRegistry(), "two", 5)]
    return metrics_text(registries).decode()


def test_every_model_s_series_are_there(text):
    found = samples(text)
    assert found["vllm:num_requests_running"] == {"one": 3, "two": 5}
    assert found["vllm:generation_tokens_total"] == {"one": 3, "two": 5}
    assert found["vllm:ttft_seconds_sum"] == {"one": 3, "two": 5}


def test_a_family_is_introduced_once(text):
    assert set(comments(text).values()) == {1}


def test_a_family_s_samples_are_together(text):
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))


def test_one_registry_reads_as_it_would_alone():
    registry = fill(CollectorRegistry(), "one")
    assert metrics_text([registry]) == generate_latest(registry)


def test_reading_twice_counts_nothing_twice():
    registries = [fill(CollectorRegistry(), "one"), fill(CollectorRegistry(), "two")]
    assert metrics_text(registries) == metrics_text(registries)


def test_the_gateway_shows_its_own_metrics_and_every_model_s():
    one, two = StubModel("one"), StubModel("two")
    fill(one.registry, "one"), fill(two.registry, "two")
    response = ask(shell(one, two), "GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    found = samples(response.text)
    assert found["vllm:num_requests_running"] == {"one": 1, "two": 1}
    assert "process_cpu_seconds_total" in found
    assert set(comments(response.text).values()) == {1}
