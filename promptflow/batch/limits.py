"""How many lines at once, and how long they may take."""

from __future__ import annotations

import os
from dataclasses import dataclass

from promptflow.exceptions import ValidationException


@dataclass(frozen=True)
class Limits:
    """``workers`` lines at once; seconds per line; seconds for all lines, None for no limit."""

    workers: int = 4
    line_timeout: float = 600.0
    batch_timeout: float | None = None

    @classmethod
    def from_environment(cls) -> Limits:
        """PF_WORKER_COUNT, PF_LINE_TIMEOUT_SEC, PF_BATCH_TIMEOUT_SEC."""
        return cls(
            workers=int(_number("PF_WORKER_COUNT") or cls.workers),
            line_timeout=_number("PF_LINE_TIMEOUT_SEC") or cls.line_timeout,
            batch_timeout=_number("PF_BATCH_TIMEOUT_SEC"),
        )


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValidationException(f"{name} is {text!r}, which is no positive number.", location=f"environment: {name}")
    return value
