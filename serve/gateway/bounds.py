"""How large the head of a request may be, and how slowly its body may come. What a parser is given piece by piece is
bounded before (``protocol.py``); here it is what has come at once, and what goes on for long."""

from __future__ import annotations

from typing import Any

from serve.gateway.protocol import HEADER_BYTES
from serve.gateway.refusals import Refusal

BODY_SECONDS = 30.0  # that any body may take
BODY_RATE = 8 * 1024  # bytes per second, at the least, of a body that takes longer


def check_head(scope: Any) -> None:
    """Refusal 431 if it is larger than it may be."""
    size = len(scope["raw_path"]) + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value) + 4
    if size > HEADER_BYTES:
        raise Refusal(431, "RequestHeaderTooLarge", f"The head of a request may have up to {HEADER_BYTES} bytes.")


def check_pace(received: int, seconds: float) -> None:
    """Refusal 408 if so much of a body in such a time is too little: who drips it byte by byte would stay for ever."""
    if seconds > BODY_SECONDS + received / BODY_RATE:
        reason = f"The body came too slowly: {received} bytes in {seconds:.0f} s."
        raise Refusal(408, "RequestTimeout", reason)
