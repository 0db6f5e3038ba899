"""Spans of requests, as a collector gets them over OTLP: vLLM's real API server, a switch and fake
engines, and the SDK's own exporter."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cluster.admission.tenants import Tenant
from serve_app.tracing import GRPC, Tracing
from tests.serve_app.model_fleet import SPEC, ModelFleet, built_fleet
from tests.serve_app.tenants import bearer, tenant
from tests.waiting import eventually

pytestmark = pytest.mark.anyio

CHAT = tenant("chat")
HASTY = tenant("hasty", max_wait_s=0.05)
TENANTS: tuple[Tenant, ...] = (CHAT, HASTY)
TRACE_ID, CALLER_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{CALLER_ID}-01"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
async def built(spans: InMemorySpanExporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    models = [model for model in SPEC["models"] if model["name"] == "demo"]
    async with built_fleet(models=models, tenants=TENANTS, tracing=Tracing(provider)) as fleet:
        yield fleet


@pytest.fixture
async def fleet(built: ModelFleet, spans: InMemorySpanExporter):
    spans.clear()
    yield built
    await built.remove("demo")


async def finished(spans: InMemorySpanExporter, root: str = "POST /v1/chat/completions"):
    """(The request's span, the others by name in order), once it is over."""
    await eventually(lambda: root in [span.name for span in spans.get_finished_spans()])
    found = spans.get_finished_spans()
    (top,) = (span for span in found if span.name == root)
    inside = [span for span in found if span is not top]
    assert all(span.parent.span_id == top.context.span_id for span in inside)
    return top, {span.name: span for span in inside}


async def test_a_request_s_span_has_its_parts_and_the_caller_for_parent(fleet, spans):
    (engine,) = await fleet.start("demo")
    headers = bearer(CHAT.name) | {"traceparent": TRACEPARENT}
    assert (await fleet.chat(headers=headers).finish()).status == 200
    top, inside = await finished(spans)
    assert f"{top.context.trace_id:032x}" == TRACE_ID
    assert f"{top.parent.span_id:016x}" == CALLER_ID
    assert set(inside) == {f"engine {engine.engine_id}", "prefill", "decode"}
    assert top.attributes["tokenfleet.tenant"] == "chat"
    assert top.attributes["tokenfleet.outcome"] == "served"
    assert top.attributes["gen_ai.usage.output_tokens"] == 20
    assert top.start_time <= inside["prefill"].start_time < inside["prefill"].end_time
    assert inside["prefill"].end_time == inside["decode"].start_time <= inside["decode"].end_time
    assert inside["decode"].end_time == top.end_time


async def test_each_engine_that_it_was_on_is_a_span_and_says_why_it_was_left(fleet, spans):
    dies, goes_on = await fleet.start("demo", 2, steps_allowed=0)
    call = fleet.chat(headers=bearer(CHAT.name))
    await eventually(lambda: any(host.core.running for host in (dies, goes_on)))
    if not dies.core.running:
        dies, goes_on = goes_on, dies
    dies.call(lambda: dies.core.allow(3))
    await call.events(2)
    dies.call(dies.core.die)
    goes_on.call(lambda: goes_on.core.allow(None))
    assert (await call.finish()).status == 200
    _, inside = await finished(spans)
    first, second = (inside[f"engine {host.engine_id}"] for host in (dies, goes_on))
    assert first.attributes["tokenfleet.lost"] == "core_dead"
    assert "tokenfleet.lost" not in second.attributes
    assert first.end_time <= second.start_time
    assert [span.attributes["tokenfleet.attempt"] for span in (first, second)] == [1, 2]


async def test_what_waits_and_what_is_refused_says_so(fleet, spans):
    (host,) = await fleet.start("demo", max_num_seqs=1, steps_allowed=0)
    running = fleet.chat(headers=bearer(CHAT.name))
    await eventually(lambda: len(host.core.running) == 1)
    assert (await fleet.chat(headers=bearer(HASTY.name)).finish()).status == 503
    top, inside = await finished(spans)
    assert not top.status.is_ok
    assert top.status.description == "waited"
    assert set(inside) == {"queue"}
    host.call(lambda: host.core.allow(None))
    await running.finish()


async def test_a_body_that_is_refused_ends_its_span(fleet, spans):
    await fleet.start("demo")
    assert (await fleet.chat(headers=bearer(CHAT.name), max_tokens=-1).finish()).status == 400
    top, inside = await finished(spans)
    assert not inside
    assert "tokenfleet.outcome" not in top.attributes


async def test_without_an_endpoint_nothing_is_traced(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    scope = {"method": "GET", "path": "/", "headers": [(b"traceparent", TRACEPARENT.encode())]}
    before = list(scope["headers"])
    assert Tracing.of_environment().begin(scope, "demo", "chat") is None
    assert scope["headers"] == before


async def test_a_protocol_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift")
    with pytest.raises(ValueError, match=f"'thrift'; http/protobuf and {GRPC} are known"):
        Tracing.of_environment()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Its address, and what it got."""
    got: list[ExportTraceServiceRequest] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("named", "expected"), [(None, "tokenfleet"), ("mine", "mine")])
async def test_a_collector_gets_them_by_the_standard_variables(
    collector, monkeypatch, named, expected
):
    address, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    if named is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", named)
    tracing = Tracing.of_environment()
    scope = {"method": "POST", "path": "/v1/completions", "headers": []}
    span = tracing.begin(scope, "demo", "chat")
    assert [name for name, _ in scope["headers"]] == [b"traceparent"]
    tracing.leave(span)
    tracing.stop()
    (resource,) = got[0].resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == expected
    assert resource.scope_spans[0].spans[0].name == "POST /v1/completions"
