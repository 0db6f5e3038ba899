"""What a gateway records: for each request, and once a second."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Histogram

from cluster.admission.usage import Usage
from serve_app import metric_table as table
from serve_app.gateway_metrics import ITL_BUCKETS, GatewayMetrics
from serve_app.metric_table import LABEL_VALUES, METRICS, MetricKind, MetricSpec
from serve_app.scaling_record import Change, Scaled
from serve_app.served_request import ServedRequest
from serve_app.switch_measures import Measured

QUEUE = {"waiting": {"interactive": 2, "batch": 1}, "drain_tokens_per_s": None}
NOTHING = Measured(
    flights=0, ttft_total=0, ttft_good=0, moves={}, failures={}, losses={}, decisions={},
    decision_s=0.0, routed_tokens=0, hit_tokens=0, gaps_s=(), engines=(),
)  # fmt: skip
SERVED = ServedRequest(
    request_id="chatcmpl-1",
    tenant="search",
    model="m",
    outcome="served",
    usage=Usage(
        requests=1, prompt_tokens=10, cached_tokens=4, output_tokens=5, engine_s=0.5, attempts=2
    ),
    waited_s=0.1,
    at_unix_s=1.0,
    took_s=1.0,
    ttft_s=0.2,
    tpot_s=0.05,
    engines=("a", "b"),
)


@dataclass
class Recorded:
    """In place of Ray: every value, with its labels."""

    values: dict[str, list[tuple[float, dict[str, str]]]] = field(default_factory=dict)

    def make(self, spec: MetricSpec):
        def record(value: float, labels: dict[str, str]) -> None:
            assert set(labels) == set(spec.labels), spec.name
            self.values.setdefault(spec.name, []).append((value, labels))

        return SimpleNamespace(record=record)

    def of(self, spec: MetricSpec, **labels: str) -> list[float]:
        return [
            value
            for value, shown in self.values.get(spec.name, [])
            if labels.items() <= shown.items()
        ]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture
def metrics(recorded) -> GatewayMetrics:
    return GatewayMetrics(recorded.make)


def model(scaled: Scaled | None = None, held: int = 0):
    return SimpleNamespace(name="m", scaled=scaled, held=held, registry=CollectorRegistry())


def engine(name: str, **more):
    return {
        "id": name, "state": "ready", "running": 3, "waiting": 1, "kv_use_frac": 0.5,
        "queued_prefill_tokens": 7, "step_cost_s": None, **more,
    }  # fmt: skip


def test_a_request_counts_once_with_what_it_used(metrics, recorded):
    metrics.served(SERVED)
    assert recorded.of(table.REQUESTS, tenant="search", outcome="served") == [1]
    for spec, value in (
        (table.PROMPT_TOKENS, 10), (table.CACHED_TOKENS, 4), (table.OUTPUT_TOKENS, 5),
        (table.ENGINE_SECONDS, 0.5), (table.TTFT, 0.2), (table.TPOT, 0.05), (table.LENGTH, 1.0),
        (table.QUEUE, 0.1),
    ):  # fmt: skip
        assert recorded.of(spec, model="m") == [value]


def test_a_refusal_is_counted_by_its_reason_and_no_request(metrics, recorded):
    metrics.served(replace(SERVED, outcome="refused", reason="tokens_rate", usage=Usage()))
    assert recorded.of(table.REFUSED, tenant="search", reason="tokens_rate") == [1]
    assert list(recorded.values) == [table.REFUSED.name]


def test_a_request_without_an_answer_has_no_latency(metrics, recorded):
    metrics.served(replace(SERVED, outcome="cancelled", ttft_s=None, tpot_s=None))
    assert recorded.of(table.TTFT) == recorded.of(table.TPOT) == []


def test_routes_are_those_of_inference_and_others_one(metrics, recorded):
    metrics.answered("m", "/v1/chat/completions", 200)
    metrics.answered("m", "/a/path/that/a/client/made/up", 404)
    assert recorded.of(table.RESPONSES, route="/v1/chat/completions", status="200") == [1]
    assert recorded.of(table.RESPONSES, route="other", status="404") == [1]


def test_what_grows_is_recorded_by_how_much(metrics, recorded):
    for total in (2, 2, 5):
        metrics.look(model(), replace(NOTHING, moves={"core_dead": total}, hit_tokens=total), QUEUE)
    assert recorded.of(table.MOVES, cause="core_dead") == [2, 3]
    assert recorded.of(table.HIT_TOKENS) == [2, 3]


def test_an_engine_s_load_is_shown_until_it_is_gone(metrics, recorded):
    cost = {"base": 0.01, "prefill_token": 0.001, "decode_request": 0.002}
    engines = [engine("a"), engine("b", state="leaving", step_cost_s=cost)]
    metrics.look(model(), replace(NOTHING, engines=engines), QUEUE)
    metrics.look(model(), replace(NOTHING, engines=engines[:1]), QUEUE)
    assert recorded.of(table.RUNNING, engine="a") == [3, 3]
    assert recorded.of(table.RUNNING, engine="b") == [3, 0]
    assert recorded.of(table.STEP_BASE, engine="a") == []
    assert recorded.of(table.STEP_BASE, engine="b") == [0.01, 0]
    assert recorded.of(table.ENGINES, state="leaving") == [1, 0]
    assert recorded.of(table.ENGINES, state="ready") == [1, 1]


def test_queue_gaps_and_what_is_held(metrics, recorded):
    metrics.look(model(held=4), replace(NOTHING, flights=9, gaps_s=(0.3, 0.4)), QUEUE)
    assert recorded.of(table.QUEUED, priority="batch") == [1]
    assert recorded.of(table.RESUME_GAP) == [0.3, 0.4]
    assert (recorded.of(table.HELD), recorded.of(table.FLIGHTS)) == ([4], [9])


def test_times_between_tokens_are_vllms_buckets(metrics, recorded):
    shown = model()
    itl = Histogram(
        ITL_BUCKETS.removesuffix("_bucket"),
        "ITL.",
        labelnames=["model_name", "engine"],
        buckets=[0.01, 0.1],
        registry=shown.registry,
    ).labels("m", "0")
    for seconds in (0.005, 0.05, 0.5):
        itl.observe(seconds)
    metrics.look(shown, NOTHING, QUEUE)
    itl.observe(0.05)
    metrics.look(shown, NOTHING, QUEUE)
    metrics.look(shown, NOTHING, QUEUE)
    counts = {le: recorded.of(table.ITL, model="m", le=le) for le in ("0.01", "0.1", "+Inf")}
    assert counts == {"0.01": [1], "0.1": [2, 1], "+Inf": [3, 1]}


def test_a_change_of_size_counts_once_and_not_those_from_before(metrics, recorded):
    def scaled(*changes: Change) -> Scaled:
        return Scaled(
            target=2, ready=1, reason="load", sentence="", at_s=changes[-1].at_s, changes=changes
        )

    old, new = (
        Change(at_s=at_s, before=1, after=2, reason=reason, sentence="")
        for at_s, reason in ((1.0, "idle"), (9.0, "load"))
    )
    for changes in ((old,), (old,), (old, new), (old, new)):
        metrics.look(model(scaled(*changes)), NOTHING, QUEUE)
    assert recorded.of(table.SCALING_CHANGES) == [1]
    assert recorded.of(table.SCALING_CHANGES, reason="load") == [1]
    assert recorded.of(table.SCALING_TARGET)[-1] == 2


def test_the_table_says_what_bounds_every_label():
    assert {label for spec in METRICS for label in spec.labels} == set(LABEL_VALUES)


def test_names_are_unique_and_have_their_unit():
    names = [spec.name for spec in METRICS]
    assert len(set(names)) == len(names)
    for spec in METRICS:
        assert spec.name.startswith("tokenfleet_")
        assert spec.name.endswith("_total") == (spec.kind is MetricKind.COUNTER)
        assert bool(spec.buckets) == (spec.kind is MetricKind.HISTOGRAM)
        assert list(spec.buckets) == sorted(spec.buckets)
