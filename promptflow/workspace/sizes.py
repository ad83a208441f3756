"""Sizes in bytes as people write them: 500MB, 2 GiB."""

from __future__ import annotations

from typing import Any

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def parse_size(value: Any) -> int | None:
    """Bytes; None where ``value`` is no size."""
    text = str(value).strip().upper().removesuffix("B")
    digits = text.rstrip("KMGTI")
    unit = _UNITS.get(text[len(digits) :])
    try:
        size = float(digits) * unit if unit is not None else -1.0
    except ValueError:
        return None
    return int(size) if 0 <= size < float("inf") and not isinstance(value, bool) else None


def size_text(size: int) -> str:
    """``1.2 GB``."""
    number, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
