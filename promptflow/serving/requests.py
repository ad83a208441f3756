"""A request's bytes -> the flow's inputs, and what its headers ask for. Pure functions."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from promptflow.exceptions import BadRequest, JsonPayloadRequiredForMultipleInputFields, MissingRequiredFlowInput
from promptflow.serving.loaded import ServedFlow

EVENT_STREAM = "text/event-stream"
_JSON = frozenset({"application/json", "application/*", "*/*"})
_SHOWN = 500  # characters of a request that an error repeats: a body may hold pictures
_ID_LENGTH = 256


@dataclass(slots=True)
class Asked:
    """What the headers of one request say. Ids that are given come back, and name the run."""

    accept: str = ""
    request_id: str = ""
    client_request_id: str = ""
    traceparent: str = ""
    tracestate: str = ""
    baggage: str = ""

    @property
    def streams(self) -> bool:
        """Events are asked for by name; ``*/*`` and ``text/*`` do not ask for them."""
        return EVENT_STREAM in media_types(self.accept)

    @property
    def takes_json(self) -> bool:
        return not self.accept or not _JSON.isdisjoint(media_types(self.accept))

    @property
    def run_id(self) -> str:
        return self.request_id or self.client_request_id or _new_id()


def _new_id() -> str:
    # Not from the system's entropy: to ask for that lets go of the interpreter's lock, for every request.
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Asked:
    """Repeated Accept headers count as one."""
    asked = Asked()
    for name, value in headers:
        if name == b"accept":
            accept = value.decode("latin-1").strip()
            asked.accept = f"{asked.accept}, {accept}" if asked.accept else accept
        elif name == b"x-request-id":
            asked.request_id = value.decode("latin-1")[:_ID_LENGTH]
        elif name == b"x-ms-client-request-id":
            asked.client_request_id = value.decode("latin-1")[:_ID_LENGTH]
        elif name == b"traceparent":
            asked.traceparent = value.decode("latin-1")
        elif name == b"tracestate":
            asked.tracestate = value.decode("latin-1")
        elif name == b"baggage":
            asked.baggage = value.decode("latin-1")
    return asked


@lru_cache(maxsize=256)
def media_types(accept: str) -> frozenset[str]:
    """The media types of an Accept header, but those with ``q=0``. Few clients think of a header of their own."""
    found = set()
    for item in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if kind and not any(_is_zero(parameter) for parameter in parameters):
            found.add(kind)
    return frozenset(found)


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", "0.")


def inputs_of(flow: ServedFlow, body: bytes) -> dict[str, Any]:
    """The flow's inputs from a body: a JSON object by name, or the value of the only input, JSON or not.

    Raises JsonPayloadRequiredForMultipleInputFields, MissingRequiredFlowInput.
    """
    if not flow.inputs:
        return {}
    try:
        data = json.loads(body) if body else {}
    except RecursionError:
        raise BadRequest("The request's body is nested too deeply.") from None
    except ValueError:
        data = _only_input(flow, body.decode("utf-8", "replace"), "is not JSON")
    if not isinstance(data, dict):
        data = _only_input(flow, data, "is no JSON object")
    missing = [name for name in flow.required if name not in data]
    if missing:
        raise MissingRequiredFlowInput(f"Required input fields {missing} are missing in request data {_shown(data)}")
    return data


def _only_input(flow: ServedFlow, value: Any, what: str) -> dict[str, Any]:
    if len(flow.inputs) > 1:
        raise JsonPayloadRequiredForMultipleInputFields(
            f"The request's body {what}, and the flow has {len(flow.inputs)} inputs: send a JSON object with "
            f"{', '.join(flow.inputs)}."
        )
    return {flow.inputs[0]: value}


def _shown(data: dict[str, Any]) -> str:
    text = repr(data)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
