"""Whether a value comes back from its JSON as it was."""

from __future__ import annotations

import math
from typing import Any

from promptflow.contracts.multimedia import Image
from promptflow.storage.encode import MAX_DEPTH

_INT64 = range(-(2**63), 2**64)


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
