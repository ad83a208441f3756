"""Messages between a process and its workers: pickles of plain values, each after its length.

User code runs in workers, and its objects must not cross: to read one, the other side would import user modules.
What is no plain value travels as its JSON form.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from promptflow.contracts.run import LineResult, RunInfo
from promptflow.storage.encode import to_json

_LENGTH = struct.Struct("<Q")
_MODULES = ("datetime", "decimal", "uuid", "copyreg", "builtins")


class _Pickler(pickle.Pickler):
    """``changed`` is set once a value was turned into its JSON form."""

    changed = False

    def reducer_override(self, value: Any) -> Any:
        # Never asked about dict, list, tuple, set, str, bytes, numbers, bool and None themselves: those go at C speed.
        kind = value if isinstance(value, type) or callable(value) else type(value)
        module = getattr(kind, "__module__", None) or ""
        if module.startswith("promptflow.") or module in _MODULES or kind is json.loads:
            return NotImplemented
        self.changed = True
        return json.loads, (to_json(value).decode(),)


def pack(message: tuple[Any, ...]) -> tuple[bytes, bool]:
    """The message as bytes, and whether every value in it will be the same on the other side."""
    buffer = io.BytesIO()
    buffer.write(_LENGTH.pack(0))
    pickler = _Pickler(buffer, protocol=5)
    try:
        pickler.dump(message)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException:  # too deep, or an object whose methods raise
        return pack(tuple(_shown(part) for part in message))[0], False
    buffer.seek(0)
    buffer.write(_LENGTH.pack(buffer.getbuffer().nbytes - _LENGTH.size))
    return buffer.getvalue(), not pickler.changed


def pack_all(message: tuple[Any, ...]) -> bytes:
    """The message as bytes, any object as it is: for what a process sends to its workers."""
    data = pickle.dumps(message, protocol=5)
    return _LENGTH.pack(len(data)) + data


def read(stream: Any) -> tuple[Any, ...] | None:
    """The next message of a blocking stream; None at its end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    size = _LENGTH.unpack(head)[0]
    data = stream.read(size)
    return pickle.loads(data) if len(data) == size else None


class Messages:
    """Messages out of pieces of a stream, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(buffer, at)[0]
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                message = pickle.loads(view[at + _LENGTH.size : end])
            at = end
            yield message
        del buffer[:at]


def _shown(part: Any) -> Any:
    """A part of a message with the values in it as JSON."""
    if isinstance(part, LineResult):
        info = replace(
            part.run_info, **{name: _json(getattr(part.run_info, name)) for name in ("inputs", "output", "result")}
        )
        nodes = {name: _shown(node) for name, node in part.node_run_infos.items()}
        return LineResult(_json(part.output), _json(part.aggregation_inputs), info, nodes)
    if isinstance(part, RunInfo):
        return replace(part, **{name: _json(getattr(part, name)) for name in ("inputs", "output", "result")})
    return part if isinstance(part, str | int) else _json(part)


def _json(value: Any) -> Any:
    return json.loads(to_json(value))
