"""Spans in OpenTelemetry's protocol (OTLP): the JSON form, and protobuf with the ``[otel]`` extra."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.optional import need

Row = dict[str, Any]

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
STATUS_MESSAGE = "otel.status_description"
EXPERIMENT = "experiment.name"
_STATUS = {"Unset": 0, "Ok": 1, "Error": 2}
_STATUS_NAMES = {0: "Unset", 1: "Ok", 2: "Error", "STATUS_CODE_OK": "Ok", "STATUS_CODE_ERROR": "Error"}


def encode(rows: Iterable[Mapping[str, Any]], resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An ExportTraceServiceRequest as JSON; rows of one collection and session share a resource."""
    groups: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row.get("collection"), row.get("session")), []).append(_encode_span(row))
    result = []
    for (collection, session), spans in groups.items():
        named = {"service.name": "promptflow", **(resource or {}), "collection": collection, "session.id": session}
        attributes = _encode_attributes({key: value for key, value in named.items() if value is not None})
        scope = {"scope": {"name": "promptflow"}, "spans": spans}
        result.append({"resource": {"attributes": attributes}, "scopeSpans": [scope]})
    return {"resourceSpans": result}


def decode(request: Any) -> list[Row]:
    """The rows of an ExportTraceServiceRequest in JSON form."""
    try:
        return [
            _decode_span(span, _decode_attributes(group.get("resource", {}).get("attributes")))
            for group in request.get("resourceSpans") or ()
            for scope in group.get("scopeSpans") or group.get("instrumentationLibrarySpans") or ()
            for span in scope.get("spans") or ()
        ]
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise ValidationException(f"This is no OTLP trace request: {error}.") from error


def to_protobuf(request: Mapping[str, Any]) -> bytes:
    """The JSON form as protobuf bytes."""
    message = _request_class()()
    need("google.protobuf.json_format", extra="otel").ParseDict(_with_ids(request, _hex_to_base64), message)
    data: bytes = message.SerializeToString()
    return data


def from_protobuf(data: bytes) -> dict[str, Any]:
    """The JSON form of protobuf bytes."""
    message = _request_class()()
    try:
        message.ParseFromString(data)
    except Exception as error:  # google.protobuf.message.DecodeError, whose package may not be there
        raise ValidationException(f"This is no OTLP trace request: {error}.") from error
    result = need("google.protobuf.json_format", extra="otel").MessageToDict(message)
    return _with_ids(result, _base64_to_hex)


def _request_class() -> Any:
    return need("opentelemetry.proto.collector.trace.v1.trace_service_pb2", extra="otel").ExportTraceServiceRequest


def _encode_span(row: Mapping[str, Any]) -> dict[str, Any]:
    attributes = dict(row["attributes"])
    message = row.get("message") or attributes.pop(STATUS_MESSAGE, "")
    span: dict[str, Any] = {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "name": row["name"],
        "kind": 1,
        "startTimeUnixNano": str(row["start_ns"]),
        "endTimeUnixNano": str(row.get("end_ns") or row["start_ns"]),
        "attributes": _encode_attributes(attributes),
        "events": [
            {
                "timeUnixNano": str(event["time_ns"]),
                "name": event["name"],
                "attributes": _encode_attributes(event.get("attributes") or {}),
            }
            for event in row["events"]
        ],
        "status": {"code": _STATUS.get(row.get("status") or "Unset", 0), **({"message": message} if message else {})},
    }
    if row.get("parent_id"):
        span["parentSpanId"] = row["parent_id"]
    return span


def _decode_span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Row:
    attributes = _decode_attributes(span.get("attributes"))
    status = span.get("status") or {}
    if status.get("message"):
        attributes[STATUS_MESSAGE] = status["message"]
    if resource.get(EXPERIMENT):
        attributes.setdefault(EXPERIMENT, resource[EXPERIMENT])
    service = resource.get("service.name")
    if service and service != "promptflow":
        attributes.setdefault("service.name", service)
    start = int(span["startTimeUnixNano"])
    return {
        "trace_id": _id(span["traceId"], 16),
        "span_id": _id(span["spanId"], 8),
        "parent_id": _id(span["parentSpanId"], 8) if span.get("parentSpanId") else "",
        "name": str(span.get("name") or ""),
        "kind": attributes.get("span_type") or "Function",
        "start_ns": start,
        "end_ns": int(span.get("endTimeUnixNano") or start),
        "status": _STATUS_NAMES.get(status.get("code", 0), "Unset"),
        "collection": resource.get("collection") or attributes.get("collection") or service,
        "session": resource.get("session.id") or resource.get("session_id") or attributes.get("session_id"),
        "attributes": attributes,
        "events": [
            {
                "name": event.get("name") or "",
                "time_ns": int(event.get("timeUnixNano") or start),
                "attributes": _decode_attributes(event.get("attributes")),
            }
            for event in span.get("events") or ()
        ],
    }


def _id(text: str, size: int) -> str:
    try:
        if len(bytes.fromhex(text)) == size:
            return text.lower()
    except ValueError:
        pass
    raise ValidationException(f"'{text[:40]}' is not an id of {size} bytes in hex.")


def _encode_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _encode_value(value)} for key, value in attributes.items() if value is not None]


def _encode_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_encode_value(item) for item in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _encode_attributes(value)}}
    return {"stringValue": str(value)}


def _decode_attributes(attributes: Any) -> dict[str, Any]:
    return {item["key"]: _decode_value(item.get("value") or {}) for item in attributes or ()}


def _decode_value(value: Mapping[str, Any]) -> Any:
    for kind, content in value.items():
        if kind == "intValue":
            return int(content)
        if kind == "arrayValue":
            return [_decode_value(item) for item in content.get("values") or ()]
        if kind == "kvlistValue":
            return _decode_attributes(content.get("values"))
        return content
    return None


def _with_ids(request: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """The request with its ids changed: OTLP's JSON writes them in hex, protobuf's own JSON in base64."""
    return {
        "resourceSpans": [
            {
                **group,
                "scopeSpans": [
                    {**scope, "spans": [_ids_of_span(span, change) for span in scope.get("spans") or ()]}
                    for scope in group.get("scopeSpans") or ()
                ],
            }
            for group in request.get("resourceSpans") or ()
        ]
    }


def _ids_of_span(span: Mapping[str, Any], change: Any) -> dict[str, Any]:
    changed = {key: change(span[key]) for key in ("traceId", "spanId", "parentSpanId") if span.get(key)}
    links = [
        {**link, **{k: change(link[k]) for k in ("traceId", "spanId") if link.get(k)}} for link in span.get("links", ())
    ]
    return {**span, **changed, **({"links": links} if links else {})}


def _hex_to_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def _base64_to_hex(text: str) -> str:
    try:
        return base64.b64decode(text).hex()
    except binascii.Error as error:
        raise ValidationException(f"'{text[:40]}' is not an id.") from error
