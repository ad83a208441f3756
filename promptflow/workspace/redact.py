"""The secrets that this process has come to know, taken out of what it writes: records of runs, traces.

User code is given connections whole. What it returns, prints or raises may hold a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MASK = "******"
SHORTEST = 16  # characters: shorter ones would take words out of texts

_texts: dict[str, None] = {}
_bytes: tuple[bytes, ...] = ()


def hide(values: Iterable[Any]) -> None:
    """From now on these values are not written. Anything but texts of `SHORTEST` characters or more is passed over."""
    global _bytes
    new = {v: None for v in values if isinstance(v, str) and len(v) >= SHORTEST and v not in _texts and v.strip("*")}
    if new:
        _texts.update(new)
        # Longest first: one secret may begin another.
        _bytes = tuple(sorted((text.encode("utf-8", "replace") for text in _texts), key=len, reverse=True))


def redacted(data: bytes) -> bytes:
    """``data`` without the secrets."""
    for secret in _bytes:
        if secret in data:
            data = data.replace(secret, MASK.encode())
    return data
