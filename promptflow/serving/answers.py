"""What a flow returned -> the bytes of an answer. Pure functions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

import orjson

from promptflow.contracts.multimedia import PFBytes
from promptflow.exceptions import (
    BadRequest,
    MultipleStreamOutputFieldsNotSupported,
    PromptflowException,
    UnexpectedError,
    UserErrorException,
)
from promptflow.executor.entry import output_dict
from promptflow.executor.multimedia import images_to_base64
from promptflow.serving.loaded import ServedFlow
from promptflow.workspace.redact import redacted

OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def answer_of(flow: ServedFlow, output: Any) -> Any:
    """What the answer holds: outputs by name without the hidden ones; what is no mapping as it is."""
    if not isinstance(output, Mapping) and not (is_dataclass(output) and not isinstance(output, type)):
        return output
    fields = output_dict(output)
    return {name: value for name, value in fields.items() if name not in flow.hidden} if flow.hidden else fields


def stream_of(answer: Any) -> tuple[str, Any, dict[str, Any]] | None:
    """``(field, iterator, other fields)`` of an answer that streams, None for one that does not.

    Raises MultipleStreamOutputFieldsNotSupported, with the iterators closed.
    """
    fields = answer if isinstance(answer, dict) else {"output": answer}
    streams = [name for name, value in fields.items() if is_stream(value)]
    if not streams:
        return None
    if len(streams) > 1:
        raise MultipleStreamOutputFieldsNotSupported(
            f"Several outputs stream: {', '.join(streams)}. One can.",
            hint="ask for application/json, which joins each of them",
        )
    name = streams[0]
    return name, fields[name], {key: value for key, value in fields.items() if key != name}


def is_stream(value: Any) -> bool:
    return isinstance(value, Iterator | AsyncIterator)


def json_bytes(value: Any, message_format: str = "basic") -> bytes:
    """Without keys of connections. Raises UserErrorException for what JSON cannot hold."""
    return redacted(_json_bytes(value, message_format))


def _json_bytes(value: Any, message_format: str) -> bytes:
    if message_format != "basic":
        value = images_to_base64(value, message_format)
    try:
        return orjson.dumps(value, _plain, OPTIONS)
    except TypeError:
        pass  # integers beyond 64 bits, lone surrogates: the standard library writes them
    try:
        return json.dumps(value, default=_plain, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UserErrorException(
            f"The output of the flow cannot be written as JSON: {error}.", hint="return text, numbers, lists and dicts"
        ) from error


def event(fields: Mapping[str, Any], message_format: str = "basic") -> bytes:
    """One server-sent event, spaced as Python writes JSON: there are clients that look for ``"answer": ``."""
    pairs = (json_bytes(str(k)) + b": " + json_bytes(v, message_format) for k, v in fields.items())
    return b"data: {" + b", ".join(pairs) + b"}\n\n"


def error_of(error: BaseException) -> tuple[int, dict[str, Any]]:
    """``(status, body)`` of an error: 400 where request or flow are wrong, 500 where this server is."""
    if not isinstance(error, PromptflowException):
        error = UnexpectedError(f"({type(error).__name__}) {error}", error=error)
    code = error.error_codes[0]
    status = error.http_status if isinstance(error, BadRequest) else 400 if code == "UserError" else 500
    return status, {"error": {"code": code, "message": str(error)}}


def _plain(value: Any) -> Any:
    """What the JSON writer does not know."""
    if isinstance(value, PFBytes):
        return images_to_base64(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    for method in ("model_dump", "to_dict", "serialize"):
        if callable(convert := getattr(value, method, None)):
            return convert()
    raise TypeError(f"a value of type {type(value).__name__}")
