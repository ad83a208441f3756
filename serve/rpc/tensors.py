"""The values of tensors: protobuf's lists of numbers <-> the bytes of the protocol's binary form."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import Any

from serve.gateway.refusals import Refusal

# datatype -> the field that holds its values, and what they are to Python's arrays
KINDS = {
    "BOOL": ("bool_contents", "B"), "INT8": ("int_contents", "b"), "INT16": ("int_contents", "h"),
    "INT32": ("int_contents", "i"), "INT64": ("int64_contents", "q"), "UINT8": ("uint_contents", "B"),
    "UINT16": ("uint_contents", "H"), "UINT32": ("uint_contents", "I"), "UINT64": ("uint64_contents", "Q"),
    "FP32": ("fp32_contents", "f"), "FP64": ("fp64_contents", "d"), "BYTES": ("bytes_contents", ""),
}  # fmt: skip


def packed(tensor: Any) -> bytes:
    """The bytes of an input's ``contents``. Refusal where they are not what its datatype says."""
    if tensor.datatype not in KINDS:
        raise _bad(f"The tensor '{tensor.name}' is {tensor.datatype or 'of no datatype'}, which has no typed contents.")
    field, code = KINDS[tensor.datatype]
    others = [one.name for one, _ in tensor.contents.ListFields() if one.name != field]
    if others:
        raise _bad(f"The tensor '{tensor.name}' is {tensor.datatype}, whose values are {field}; it has {others[0]}.")
    values = getattr(tensor.contents, field)
    if not code:
        return b"".join(struct.pack("<I", len(one)) + one for one in values)
    try:
        return array(code, values).tobytes()
    except OverflowError:
        raise _bad(f"The tensor '{tensor.name}' holds numbers that {tensor.datatype} has no room for.") from None


def unpack(data: bytes, datatype: str, contents: Any) -> None:
    """Put the values of an output into its ``contents``."""
    field, code = KINDS[datatype]
    values = getattr(contents, field)
    if not code:
        values.extend(_elements(data))
    elif datatype == "BOOL":
        values.extend(map(bool, data))
    else:
        numbers = array(code)
        numbers.frombytes(data)
        values.extend(numbers)


def _elements(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def _bad(message: str) -> Refusal:
    return Refusal(400, "BadArgument", message)
