"""The Open Inference Protocol's names of types, and numpy's."""

from __future__ import annotations

import numpy as np

TYPES = {
    "BOOL": "bool", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8", "BYTES": "O",
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


def datatype_of(dtype: np.dtype) -> str:
    """What has no name of its own goes as texts."""
    return _NAMES.get(dtype, "BYTES")
