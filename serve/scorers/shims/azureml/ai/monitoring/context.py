"""What ties together what several collectors keep of one request."""

from __future__ import annotations

import uuid


class CorrelationContext:
    """``id`` goes with all that belongs together."""

    def __init__(self, id: str = "") -> None:
        self._id = id or str(uuid.uuid4())

    def get_id(self) -> str:
        return self._id


class BasicCorrelationContext(CorrelationContext):
    """The only kind there is here."""


def get_context() -> CorrelationContext:
    return BasicCorrelationContext()
