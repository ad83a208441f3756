"""Calls of our own that are none of the flow's: a tape neither records nor answers them, nor keeps them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_aside: ContextVar[bool] = ContextVar("promptflow_aside", default=False)


@contextmanager
def aside() -> Iterator[None]:
    token = _aside.set(True)
    try:
        yield
    finally:
        _aside.reset(token)


def is_aside() -> bool:
    return _aside.get()
