"""An OpenTelemetry provider for code that writes its spans there: they end up in the same traces as ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from promptflow.tracing import exporters, spool

OURS = "promptflow"  # the instrumentation scope of spans that we have already
_STATUS = {"UNSET": "Unset", "OK": "Ok", "ERROR": "Error"}


def set_up(resource: Mapping[str, Any]) -> None:
    """Set a provider if there is none, give it our resource attributes, and take in the spans of others."""
    provider = otel_trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=Resource(dict(resource)))
        otel_trace.set_tracer_provider(provider)
    else:
        provider._resource = provider.resource.merge(Resource(dict(resource)))
    taken = provider._active_span_processor._span_processors
    if not any(isinstance(processor, ForeignSpans) for processor in taken):
        provider.add_span_processor(ForeignSpans())


class ForeignSpans(SpanProcessor):
    """Spools finished spans that were not made by this package."""

    def on_start(self, span: Any, parent_context: otel_context.Context | None = None) -> None:
        pass

    def on_end(self, span: ReadableSpan) -> None:
        scope = span.instrumentation_scope
        if scope is not None and scope.name == OURS:
            return
        for exporter in exporters.active():
            owner = getattr(exporter, "__self__", None)
            if isinstance(owner, spool.Spool):
                owner.append_rows([_row(span)])


def _row(span: ReadableSpan) -> dict[str, Any]:
    context: Any = span.get_span_context()
    attributes = dict(span.attributes or {})
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else "",
        "name": span.name,
        "kind": attributes.get("span_type", "Function"),
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "status": _STATUS[span.status.status_code.name],
        "message": span.status.description or "",
        "attributes": attributes,
        "events": [
            {"name": event.name, "time_ns": event.timestamp, "attributes": dict(event.attributes or {})}
            for event in span.events
        ],
    }
