"""``POST /feedback``: what people say about answers, as a span of the trace that the answer had."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from promptflow.serving.remote_trace import baggage_of, traced_request
from promptflow.serving.requests import Asked
from promptflow.tracing.spans import span

SPAN_NAME = "promptflow-feedback"
FIELD = "feedback"


def take_feedback(body: bytes, query: str, asked: Asked) -> dict[str, str]:
    """Keep it, and answer. ``flatten=true`` makes an attribute of each field of a JSON object."""
    flatten = parse_qs(query).get("flatten", ["false"])[-1].lower() == "true"
    with traced_request(asked, asked.run_id), span(SPAN_NAME, "Function") as at:
        for key, value in {**_fields(body.decode("utf-8", "replace"), flatten), **baggage_of(asked.baggage)}.items():
            at.set_attribute(key, value)
    return {"status": "Feedback received."}


def _fields(text: str, flatten: bool) -> dict[str, Any]:
    try:
        data = json.loads(text) if flatten else None
    except (ValueError, RecursionError):
        data = None
    return {str(key): value for key, value in data.items()} if isinstance(data, dict) else {FIELD: text}
