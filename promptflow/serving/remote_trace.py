"""The trace that a request belongs to: ``traceparent``, ``tracestate`` and ``baggage`` of W3C Trace Context."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import unquote

from promptflow.serving.requests import Asked
from promptflow.tracing import bridge
from promptflow.tracing.spans import recording, remote_parent, run_context


def traced_request(asked: Asked, run_id: str) -> AbstractContextManager[Any]:
    """Spans inside are children of the caller's span, and say which request they belong to."""
    if not recording() and not bridge.active():
        return nullcontext()
    return _traced(asked, run_id)


@contextmanager
def _traced(asked: Asked, run_id: str) -> Iterator[None]:
    with run_context(request_id=run_id), remote_parent(parent_of(asked.traceparent)):
        token = _attach(asked) if bridge.active() else None
        try:
            yield
        finally:
            if token is not None:
                sys.modules["opentelemetry.context"].detach(token)


def parent_of(traceparent: str) -> tuple[str, str] | None:
    """``(trace id, span id)`` of ``00-<32 hex>-<16 hex>-<2 hex>``; None for what is no such text."""
    version, *ids = traceparent.strip().split("-")
    if len(version) != 2 or version == "ff" or len(ids) < 3 or (version == "00" and len(ids) != 3):
        return None
    trace, span = ids[0], ids[1]
    if len(trace) != 32 or len(span) != 16 or not _is_id(trace) or not _is_id(span):
        return None
    return trace, span


def baggage_of(text: str) -> dict[str, str]:
    """Names and values of a baggage header, without its properties."""
    found = {}
    for item in text[:8192].split(",") if text else ():
        name, equals, value = item.partition(";")[0].partition("=")
        if equals and name.strip():
            found[name.strip()] = unquote(value.strip())
    return found


def _is_id(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text) and text.strip("0") != ""


def _attach(asked: Asked) -> Any:
    """The same for the user's own OpenTelemetry, where the process has one."""
    from opentelemetry import propagate

    carrier = {"traceparent": asked.traceparent, "tracestate": asked.tracestate, "baggage": asked.baggage}
    found = propagate.extract({key: value for key, value in carrier.items() if value})
    return sys.modules["opentelemetry.context"].attach(found)
