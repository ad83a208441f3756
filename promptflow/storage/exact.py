"""Values that JSON does not hold as they are: finding them, and a longer JSON that does for plain ones."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any

from promptflow.contracts.multimedia import Image
from promptflow.contracts.types import AttrDict
from promptflow.storage.encode import MAX_DEPTH

_INT64 = range(-(2**63), 2**64)
_TAG = "$"  # {"$tuple": [1, 2]}; a dictionary with such a key is tagged itself


def is_exact(value: Any, depth: int = 0) -> bool:
    """True for plain JSON values, and images among them; not for tuples, sets, NaN, objects, keys that are no text."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return value in _INT64
    if kind is float:
        return math.isfinite(value)
    if depth >= MAX_DEPTH:
        return False
    if kind is list:
        return all(is_exact(item, depth + 1) for item in value)
    if kind is dict:
        if len(value) == 1 and str(next(iter(value))).startswith("data:image/"):  # an image, once it is read back
            return False
        return all(type(key) is str and is_exact(item, depth + 1) for key, item in value.items())
    return kind is Image


def pack(value: Any, depth: int = 0) -> Any:
    """JSON that `unpack` makes this very value of. Raises ValueError where there is a value of no plain type."""
    kind = type(value)
    if kind is str or value is None or kind is bool or (kind is int and value in _INT64):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if kind is int:
        return {"$int": str(value)}
    if kind is bytes:
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if kind is datetime:
        return {"$datetime": value.isoformat()}
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deeply")
    if kind is dict and all(type(key) is str and not key.startswith(_TAG) for key in value):
        return {key: pack(item, depth + 1) for key, item in value.items()}
    if kind is dict or kind is AttrDict:
        pairs = [[pack(key, depth + 1), pack(item, depth + 1)] for key, item in value.items()]
        return {f"{_TAG}{kind.__name__}": pairs}
    if kind in (list, tuple, set, frozenset):
        items = [pack(item, depth + 1) for item in value]
        return items if kind is list else {f"{_TAG}{kind.__name__}": items}
    raise ValueError(f"{kind.__name__} is no plain type")


def unpack(packed: Any) -> Any:
    """What `pack` was given."""
    if isinstance(packed, list):
        return [unpack(item) for item in packed]
    if not isinstance(packed, dict):
        return packed
    tag, content = next(iter(packed.items()), ("", None))
    if not tag.startswith(_TAG):
        return {key: unpack(item) for key, item in packed.items()}
    return _UNPACKERS[tag](content)


_UNPACKERS: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$int": int,
    "$bytes": base64.b64decode,
    "$datetime": datetime.fromisoformat,
    "$tuple": lambda items: tuple(map(unpack, items)),
    "$set": lambda items: set(map(unpack, items)),
    "$frozenset": lambda items: frozenset(map(unpack, items)),
    "$dict": lambda pairs: {unpack(key): unpack(item) for key, item in pairs},
    "$AttrDict": lambda pairs: AttrDict({unpack(key): unpack(item) for key, item in pairs}),
}
