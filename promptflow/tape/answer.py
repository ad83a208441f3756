"""Answers on a tape <-> bodies of HTTP answers.

``json``, ``events`` (of a stream whose events are JSON and no more), ``text`` or ``base64``.
"""

from __future__ import annotations

import zlib
from base64 import b64decode
from typing import Any

import orjson

from promptflow.tape.request import canonical, read_json_or_text

_STREAM = "text/event-stream"


def kept_body(data: bytes, content_type: str = "", encoding: str = "") -> dict[str, Any]:
    """How a body is kept. ``encoding``: its Content-Encoding, if it is still encoded."""
    data = _decoded(data, encoding)
    if _STREAM in content_type.lower() and (events := _events(data)) is not None:
        return {"events": events}
    value = read_json_or_text(data)
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, dict) and set(value) == {"base64"}:
        return value
    return {"json": value}


def body_of(answer: dict[str, Any]) -> bytes:
    """The body that an answer had, as far as it matters: spaces and the order of bytes in JSON may differ."""
    if "json" in answer:
        return canonical_in_order(answer["json"])
    if "events" in answer:
        return b"".join(b"data: " + _event_data(event) + b"\n\n" for event in answer["events"])
    if "base64" in answer:
        return b64decode(answer["base64"])
    if "failure" in answer:
        return canonical_in_order({"error": {"message": answer["failure"].get("message", "")}})
    return str(answer.get("text", "")).encode("utf-8", "surrogatepass")


def canonical_in_order(value: Any) -> bytes:
    """JSON with its keys in the order they had."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return canonical(value).encode()


def _event_data(event: dict[str, Any]) -> bytes:
    return b"[DONE]" if event == {"done": True} else canonical_in_order(event)


def _events(data: bytes) -> list[dict[str, Any]] | None:
    """The events of a stream, or None where it holds more than data lines of JSON."""
    events: list[dict[str, Any]] = []
    for line in data.splitlines():
        if not line:
            continue
        if not line.startswith(b"data:"):
            return None
        text = line[5:].strip()
        try:
            value = {"done": True} if text == b"[DONE]" else orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(value, dict):
            return None
        events.append(value)
    return events


def _decoded(data: bytes, encoding: str) -> bytes:
    try:
        if encoding.lower() in ("gzip", "x-gzip", "deflate"):
            return zlib.decompress(data, zlib.MAX_WBITS | 32)
    except zlib.error:
        pass
    return data
