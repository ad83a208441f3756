"""The Open Inference Protocol, version 2, over REST, with the extension for binary tensors.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError
from serve.scorers.dialects.bodies import read_object
from serve.scorers.inputs import Inputs

TYPES = {
    "BOOL": "bool", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O",
}  # fmt: skip
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}
LENGTH = "inference-header-content-length"
BINARY = "application/octet-stream"


def read(call: Call) -> Inputs:
    head, rest = _split(call)
    body = read_object(head)
    given = body.get("inputs")
    if not isinstance(given, list) or not given:
        raise InputError("'inputs' must be a list of tensors.")
    cut = 0
    tensors: dict[str, np.ndarray] = {}
    for at, one in enumerate(given):
        name, kind, shape = _told(one, at)
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            tensors[name] = _of_list(one.get("data"), name, kind, shape)
            continue
        if not isinstance(size, int) or not 0 <= size <= len(rest) - cut:
            raise InputError(f"The tensor '{name}' says that it has {size} bytes; there are {len(rest) - cut} left.")
        tensors[name] = _of_bytes(rest[cut : cut + size], name, kind, shape)
        cut += size
    if cut != len(rest):
        raise InputError(f"{len(rest) - cut} bytes follow after the last tensor.")
    wanted = tuple(str(one.get("name")) for one in body.get("outputs") or () if isinstance(one, Mapping))
    return Inputs(None, tensors, body.get("parameters") or {}, wanted)


def write(call: Call, outputs: Mapping[str, np.ndarray], model: str, version: str) -> Answer:
    """``outputs`` by name; those that the request wants in bytes follow after the JSON."""
    body = read_object(_split(call)[0])
    every = bool((body.get("parameters") or {}).get("binary_data_output"))
    asked = {one["name"]: one.get("parameters") or {} for one in body.get("outputs") or () if isinstance(one, Mapping)}
    told, blobs = [], []
    for name, array in outputs.items():
        kind = _kind_of(array)
        one: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(array.shape)}
        if asked.get(name, {}).get("binary_data", every):
            blob = _packed(array) if kind == "BYTES" else np.ascontiguousarray(array).tobytes()
            one["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            one["data"] = array.ravel() if kind != "BYTES" else [_text(item) for item in array.ravel()]
        told.append(one)
    answer = {"model_name": model, "model_version": version, "outputs": told}
    if "id" in body:
        answer["id"] = body["id"]
    head = to_json(answer)
    if not blobs:
        return Answer(head)
    return Answer(b"".join([head, *blobs]), 200, BINARY, {LENGTH: str(len(head))})


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
    if not isinstance(shape, list) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise InputError(f"The shape of the tensor '{name}' must be a list of sizes.")
    return name, kind, tuple(shape)


def _of_list(data: Any, name: str, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(data, list):
        raise InputError(f"The tensor '{name}' has no data.")
    try:
        array = np.array(data, dtype=TYPES[kind])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"The data of the tensor '{name}' are not {kind}: {error}") from error
    return _shaped(array, name, shape)


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


def _unpacked(data: bytes, name: str) -> Iterator[bytes]:
    """Each element: its length as 4 bytes, little end first, then itself."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at) if at + 4 <= len(data) else (len(data),)
        if at + 4 + size > len(data):
            raise InputError(f"The bytes of the tensor '{name}' end in the middle of an element.")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _packed(array: np.ndarray) -> bytes:
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


def _kind_of(array: np.ndarray) -> str:
    return NAMES.get(array.dtype, "BYTES")


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
