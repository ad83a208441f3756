"""Spans made in the user's own OpenTelemetry provider as well, when the process has set one.

OpenTelemetry is never imported here: if nobody imported it, nobody can have set a provider.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptflow.tracing.spans import Span


class Mirror:
    """An OpenTelemetry span made current, and the token that makes it so."""

    __slots__ = ("context_api", "otel", "span", "token")

    def __init__(self, otel: Any, span: Any, context_api: Any, token: Any) -> None:
        self.otel = otel
        self.span = span
        self.context_api = context_api
        self.token = token


def active() -> bool:
    """Whether this process has an OpenTelemetry tracer provider."""
    otel = sys.modules.get("opentelemetry.trace")
    return otel is not None and getattr(otel, "_TRACER_PROVIDER", None) is not None


def start(name: str) -> Mirror:
    """Open a span there and make it current."""
    otel = sys.modules["opentelemetry.trace"]
    context_api = sys.modules["opentelemetry.context"]
    span = otel.get_tracer("promptflow").start_span(name)
    token = context_api.attach(otel.set_span_in_context(span))
    return Mirror(otel, span, context_api, token)


def identity(mirror: Mirror) -> tuple[str, str, str]:
    """Trace, span and parent id, as hex; the parent may be a span of the user's own."""
    context = mirror.span.get_span_context()
    parent = getattr(mirror.span, "parent", None)
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{parent.span_id:016x}" if parent else ""


def suspend(mirror: Mirror) -> None:
    """No longer current, but not ended."""
    if mirror.token is not None:
        mirror.context_api.detach(mirror.token)
        mirror.token = None


def finish(mirror: Mirror, span: Span) -> None:
    suspend(mirror)
    mirror.span.set_attributes(span.attributes)
    for event in span.all_events():
        mirror.span.add_event(event["name"], event["attributes"], event["time_ns"])
    if span.status != "Unset":
        status = sys.modules["opentelemetry.trace"].Status
        codes = sys.modules["opentelemetry.trace"].StatusCode
        mirror.span.set_status(status(codes.ERROR, span.message) if span.status == "Error" else status(codes.OK))
    mirror.span.end()
