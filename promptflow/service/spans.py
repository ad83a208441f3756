"""``/v1.0/Spans``: the spans of traces, and their events."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from promptflow.client import PFClient
from promptflow.exceptions import StoreError, UserErrorException
from promptflow.service.answers import answered
from promptflow.service.moments import moment
from promptflow.tracing.otlp import EXPERIMENT, STATUS_MESSAGE
from promptflow.tracing.records import SpanRecord
from promptflow.tracing.store import TraceStore


def routes(client: PFClient) -> APIRouter:
    """The routes of spans."""
    router = APIRouter(prefix="/v1.0/Spans", tags=["Spans"])
    store = client.traces.store

    @router.get("/list")
    def list_spans(trace_ids: str = "", lazy_load: str = "true") -> Response:
        """The spans of traces, whose ids are divided by commas. `lazy_load=false` brings their events, too."""
        lazy = lazy_load.lower() != "false"
        ids = dict.fromkeys(one for one in trace_ids.split(",") if one)
        return answered([_span(span, lazy) for one in ids for span in _spans(store, one)])

    @router.get("/Event/{event_id}")
    def get_event(event_id: str) -> Response:
        """An event, by the id that the list gives."""
        trace, _, rest = event_id.partition(".")
        span_id, _, number = rest.partition(".")
        for span in _spans(store, trace):
            if span.span_id == span_id and number.isdecimal() and int(number) < len(span.events):
                return answered(_event(span.events[int(number)]))
        raise UserErrorException(f"There is no event '{event_id[:80]}'.")

    return router


def _spans(store: TraceStore, trace_id: str) -> list[SpanRecord]:
    """None of a trace that is not there."""
    try:
        found = store.show(trace_id)
    except StoreError:
        return []
    return [span for span in found if span.trace_id == trace_id.removeprefix("0x").lower()]


def _span(span: SpanRecord, lazy: bool) -> dict[str, Any]:
    attributes = {key: value for key, value in span.attributes.items() if key not in (EXPERIMENT, STATUS_MESSAGE)}
    resource = {
        "service.name": "promptflow",
        "collection": span.collection,
        EXPERIMENT: span.attributes.get(EXPERIMENT),
    }
    message = span.attributes.get(STATUS_MESSAGE)
    return {
        "name": span.name,
        "context": {"trace_id": f"0x{span.trace_id}", "span_id": f"0x{span.span_id}", "trace_state": ""},
        "kind": "1",
        "parent_id": f"0x{span.parent_id}" if span.parent_id else None,
        "start_time": moment(span.start_ns),
        "end_time": moment(span.end_ns),
        "status": {"status_code": span.status} | ({"description": message} if message else {}),
        "attributes": attributes,
        "events": [_event(event) | ({"attributes": {}} if lazy else {}) for event in span.events],
        "links": [],
        "resource": {"attributes": {key: value for key, value in resource.items() if value}, "schema_url": ""},
        "external_event_data_uris": [f"{span.trace_id}.{span.span_id}.{at}" for at in range(len(span.events))],
    }


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {"name": event["name"], "timestamp": moment(event["time_ns"]), "attributes": event.get("attributes") or {}}
