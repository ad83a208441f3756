"""Values as JSON in run records. Images become files beside the record, anything unknown its text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from threading import get_ident
from typing import Any

import orjson

from promptflow.contracts.multimedia import Image, PFBytes, Text
from promptflow.workspace.redact import redacted

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z

Default = Callable[[Any], Any]
MAX_DEPTH = 200  # orjson stops at 254 levels; what is deeper is shown up to here


def to_json(value: Any, default: Default | None = None) -> bytes:
    """``value`` as JSON, without known secrets. ``default`` as made by `image_files` writes images, otherwise they
    become base64."""
    default = default or plain
    try:
        return redacted(orjson.dumps(value, default, _OPTIONS))
    except Exception:
        # what orjson has no room for: integers over 64 bits, lone surrogates, deep or circular values, bad methods
        return redacted(json.dumps(_shown(value, default, ())).encode("ascii"))


def plain(value: Any) -> Any:
    """What orjson does not know, as something it does."""
    if isinstance(value, Text):
        return value.serialize()
    if isinstance(value, PFBytes):
        return {f"data:{value._mime_type};base64": value.to_base64()}
    if isinstance(value, orjson.Fragment):
        return json.loads(value.contents)
    if isinstance(value, datetime):  # as orjson writes it
        return f"{value.isoformat()}Z" if value.tzinfo is None else value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset | tuple | range):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if getattr(value, "__promptflow_connection__", False):
        return type(value).__name__  # never its keys
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    for method in ("tolist", "model_dump", "to_dict"):  # numpy, pydantic, tables
        convert = getattr(value, method, None)
        if callable(convert) and not isinstance(value, type):
            return convert()
    return str(value)


def image_files(folder: Path, message_format: str, *, absolute: bool) -> Default:
    """A ``default`` for `to_json` that writes images into ``folder`` and leaves a reference to the file.

    The file's name follows from its content, so an image that comes up many times is one file.
    """

    def default(value: Any) -> Any:
        if not isinstance(value, Image):
            return plain(value)
        if value.source_url:
            return _reference(value._mime_type, "url", value.source_url, message_format)
        digest = hashlib.sha256(value).digest()[:16]
        name = f"{uuid.UUID(bytes=digest, version=4)}{_extension(value._mime_type)}"
        file = folder / name
        if not file.exists():
            part = folder / f".{name}.{get_ident()}"  # in two steps: half an image, left by a crash, would count later
            part.write_bytes(value)
            part.replace(file)
        return _reference(value._mime_type, "path", file.as_posix() if absolute else name, message_format)

    return default


def _reference(mime: str, how: str, where: str, message_format: str) -> dict[str, Any]:
    if message_format != "openai-vision":
        return {f"data:{mime};{how}": where}
    if how == "url":
        return {"type": "image_url", "image_url": {"url": where}}
    return {"type": "image_file", "image_file": {"path": where}}


def _extension(mime: str) -> str:
    kind = mime.rpartition("/")[2]
    return f".{kind}" if kind.isalnum() else ""


def _shown(value: Any, default: Default, around: tuple[int, ...]) -> Any:
    """``value`` for Python's json; what has no JSON at all (inside itself, too deep, raising) becomes its type's name.

    ``around``: the ids of the values it is in.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if id(value) in around or len(around) > MAX_DEPTH:
        return f"<{type(value).__name__}>"
    around = (*around, id(value))
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): _shown(v, default, around) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(v, default, around) for v in value]
    try:
        plainer = default(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"
    return _shown(plainer, default, around)
