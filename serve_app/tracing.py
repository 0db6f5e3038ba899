"""OpenTelemetry: one span for each request, from its coming to its end, with what it did inside.

    POST /v1/chat/completions        the tenant, the model, tokens, and what came of it
    ├── queue                        it waited in the gateway's queue
    ├── engine <id>                  an attempt; one more for each engine that it went on with
    ├── prefill                      until the first token of its first answer
    └── decode                       from then on

A client's `traceparent` is the parent, and vLLM is given ours, so the spans of a vLLM with
`otlp_traces_endpoint` are children of it. Off unless the environment has an endpoint, in
OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL,
OTEL_TRACES_SAMPLER, ...). No text of prompts and answers is in a span.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import MutableHeaders
from starlette.types import Scope

from serve_app.flights import Attempt
from serve_app.served_request import ServedRequest

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP, GRPC = "http/protobuf", "grpc"
NS_PER_S = 1e9

_context = TraceContextTextMapPropagator()


class Tracing:
    """`provider` None: off, and its methods do nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = None if provider is None else provider.get_tracer("tokenfleet")

    @classmethod
    def of_environment(cls) -> Tracing:
        """Raises ValueError for a protocol that is none."""
        if not any(os.environ.get(name) for name in ENDPOINTS):
            return cls()
        provider = TracerProvider(resource=_resource())
        provider.add_span_processor(BatchSpanProcessor(_exporter()))
        return cls(provider)

    def begin(self, scope: Scope, model: str, tenant: str) -> Span | None:
        """A request came; its headers get our `traceparent` instead of its own."""
        if self._tracer is None:
            return None
        headers = MutableHeaders(scope=scope)
        span = self._tracer.start_span(
            f"{scope.get('method', 'WEBSOCKET')} {scope['path']}",
            context=_context.extract(headers),
            kind=SpanKind.SERVER,
            attributes={"gen_ai.request.model": model, "tokenfleet.tenant": tenant},
        )
        _context.inject(headers, trace.set_span_in_context(span))
        return span

    def end(
        self, span: Span | None, served: ServedRequest, attempts: Sequence[Attempt], now_s: float
    ) -> None:
        """It is over, at `now_s` of the monotonic clock, which `attempts` are told in."""
        if span is None or self._tracer is None or not span.is_recording():
            return
        came_s, zero_s = served.at_unix_s - served.took_s, served.at_unix_s - now_s
        if served.waited_s > 0.0:
            self._child(span, "queue", came_s, came_s + served.waited_s)
        for turn, each in enumerate(attempts, 1):
            told: dict[str, Any] = {"tokenfleet.engine": each.engine_id, "tokenfleet.attempt": turn}
            if each.cause is not None:
                told["tokenfleet.lost"] = each.cause.value
            over_s = zero_s + (each.over_at_s or now_s)
            self._child(span, f"engine {each.engine_id}", zero_s + each.sent_at_s, over_s, told)
        if served.ttft_s is not None:
            first_s = came_s + served.ttft_s
            self._child(span, "prefill", came_s + served.waited_s, first_s)
            self._child(span, "decode", first_s, served.at_unix_s)
        span.set_attributes(_attributes(served))
        if served.outcome in ("failed", "refused"):
            span.set_status(Status(StatusCode.ERROR, served.reason or served.outcome))
        span.end(_ns(served.at_unix_s))

    def leave(self, span: Span | None) -> None:
        """It ended without having asked for an engine: a wrong body, a route without a model."""
        if span is not None and span.is_recording():
            span.end()

    def stop(self) -> None:
        """Send what is still here."""
        if self._provider is not None:
            self._provider.shutdown()

    def _child(
        self,
        parent: Span,
        name: str,
        began_s: float,
        over_s: float,
        attributes: dict[str, Any] | None = None,
    ) -> None:
        assert self._tracer is not None
        child = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(parent),
            start_time=_ns(began_s),
            attributes=attributes,
        )
        child.end(_ns(max(began_s, over_s)))


def _attributes(served: ServedRequest) -> dict[str, Any]:
    usage = served.usage
    return {
        "gen_ai.response.id": served.request_id,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "tokenfleet.cached_tokens": usage.cached_tokens,
        "tokenfleet.outcome": served.outcome,
    }


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def _resource() -> Resource:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go first."""
    named = "OTEL_SERVICE_NAME" in os.environ
    named |= "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {"service.name": "tokenfleet"})


def _exporter() -> SpanExporter:
    given = next((os.environ[name] for name in PROTOCOLS if os.environ.get(name)), HTTP)
    if given == HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if given == GRPC:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
            OTLPSpanExporter as GrpcSpanExporter,
        )

        return GrpcSpanExporter()
    raise ValueError(f"{PROTOCOLS[1]} is {given!r}; {HTTP} and {GRPC} are known")
