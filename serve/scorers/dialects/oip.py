"""The Open Inference Protocol, version 2, over REST, with the extension for binary tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError
from serve.scorers.datatypes import TYPES, datatype_of
from serve.scorers.dialects.bodies import read_object
from serve.scorers.inputs import Inputs

LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says of its answer: its ``id``, the outputs, and whether they come in bytes, which ``every`` one
    does that does not say otherwise."""

    id: Any = None
    outputs: Mapping[str, bool] = field(default_factory=dict)
    every: bool = False


def read(call: Call) -> tuple[Inputs, Asked]:
    head, rest = _split(call)
    body = read_object(head)
    given, params = body.get("inputs"), _parameters(body, "the body")
    if not isinstance(given, list) or not given:
        raise InputError("'inputs' must be a list of tensors.")
    cut = 0
    tensors: dict[str, np.ndarray] = {}
    for at, one in enumerate(given):
        name, kind, shape = _told(one, at)
        size = _parameters(one, name).get("binary_data_size")
        if size is None:
            tensors[name] = _of_list(one.get("data"), name, kind, shape)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(rest) - cut:
            raise InputError(f"The tensor '{name}' says that it has {size} bytes; there are {len(rest) - cut} left.")
        tensors[name] = _of_bytes(rest[cut : cut + size], name, kind, shape)
        cut += size
    if cut != len(rest):
        raise InputError(f"{len(rest) - cut} bytes follow after the last tensor.")
    every = bool(params.get("binary_data_output"))
    asked = Asked(body.get("id"), _asked(body.get("outputs"), every), every)
    own = {name: value for name, value in params.items() if name != "binary_data_output"}
    return Inputs(None, tensors, own, tuple(asked.outputs)), asked


def write(asked: Asked, outputs: Mapping[str, np.ndarray], model: str, version: str) -> Answer:
    """``outputs`` by name; those that the request wants in bytes follow after the JSON."""
    missing = [name for name in asked.outputs if name not in outputs]
    if missing:
        raise InputError(f"The model has no output '{missing[0]}'; it has {', '.join(outputs)}.")
    told, blobs = [], []
    for name in asked.outputs or outputs:
        array = outputs[name]
        kind = datatype_of(array.dtype)
        one: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if asked.outputs.get(name, asked.every):
            blob = _packed(array) if kind == "BYTES" else np.ascontiguousarray(array).tobytes()
            one["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            one["data"] = array.ravel() if kind != "BYTES" else [_text(item) for item in array.ravel()]
        told.append(one)
    answer = {"model_name": model, "model_version": version, "outputs": told}
    if asked.id is not None:
        answer["id"] = asked.id
    head = to_json(answer)
    if not blobs:
        return Answer(head)
    return Answer(b"".join([head, *blobs]), 200, BINARY, {LENGTH: str(len(head))})


def _asked(outputs: Any, every: bool) -> dict[str, bool]:
    if outputs is None:
        return {}
    if not isinstance(outputs, list) or not all(isinstance(one, dict) and "name" in one for one in outputs):
        raise InputError("'outputs' must be a list of objects with a name.")
    return {str(one["name"]): bool(_parameters(one, one["name"]).get("binary_data", every)) for one in outputs}


def _parameters(value: Mapping[str, Any], name: Any) -> Mapping[str, Any]:
    found = value.get("parameters") or {}
    if not isinstance(found, dict):
        raise InputError(f"The parameters of {name} must be an object.")
    return found


def _split(call: Call) -> tuple[bytes, bytes]:
    length = call.headers.get(LENGTH)
    if length is None:
        return call.body, b""
    if not length.isdigit() or int(length) > len(call.body):
        raise InputError(f"The header {LENGTH} is {length!r}, and the body has {len(call.body)} bytes.")
    return call.body[: int(length)], call.body[int(length) :]


def _told(one: Any, at: int) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
        raise InputError(f"'inputs[{at}]' must be an object with name, datatype and shape.")
    name, kind, shape = one["name"], one.get("datatype"), one.get("shape")
    if kind not in TYPES:
        raise InputError(f"The tensor '{name}' has the datatype {kind!r}; known are {', '.join(TYPES)}.")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InputError(f"The shape of the tensor '{name}' must be a list of sizes.")
    return name, kind, tuple(shape)


def _of_list(data: Any, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(data, list):
        raise InputError(f"The tensor '{name}' has no data.")
    try:
        array = _exactly(data, kind)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"The data of the tensor '{name}' are not {kind}: {error}") from error
    return _shaped(array, name, shape)


def _exactly(data: list[Any], kind: str) -> np.ndarray:
    """numpy alone would make 1 of 1.5, and true of "no"."""
    wanted = np.dtype(TYPES[kind])
    if wanted.kind in "fO":
        return np.array(data, dtype=wanted)
    found = np.array(data)
    array = found if found.dtype == wanted else np.array(data, dtype=wanted)
    if array is not found and not np.array_equal(array, found):
        raise ValueError("some of them are others")
    return array


def _of_bytes(data: bytes, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if kind == "BYTES":
        return _shaped(np.array(list(_unpacked(data, name)), dtype=object), name, shape)
    try:
        array = np.frombuffer(data, dtype=TYPES[kind])
    except ValueError as error:
        raise InputError(f"The bytes of the tensor '{name}' are not {kind}: {error}") from error
    return _shaped(array, name, shape)


def _shaped(array: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise InputError(f"The tensor '{name}' of shape {list(shape)} has {array.size} values.") from error


def _unpacked(data: bytes, name: str) -> Iterator[str | bytes]:
    """Each element: its length as 4 bytes, little end first, then itself: a text, unless it is none."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at) if at + 4 <= len(data) else (len(data),)
        if at + 4 + size > len(data):
            raise InputError(f"The bytes of the tensor '{name}' end in the middle of an element.")
        yield _text_or_bytes(data[at + 4 : at + 4 + size])
        at += 4 + size


def _text_or_bytes(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _packed(array: np.ndarray) -> bytes:
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
