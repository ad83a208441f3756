"""Who is told when a model's server is asked too much: batches, which then run fewer lines at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Told = Callable[[float | None], None]  # gets the seconds that the server asked to wait, if it did
_watchers: list[Told] = []


@contextmanager
def watching(told: Told) -> Iterator[None]:
    """``told`` is called inside the block, from any thread, for each request in this process that came too early."""
    _watchers.append(told)
    try:
        yield
    finally:
        _watchers.remove(told)


def tell(retry_after: float | None = None) -> None:
    for told in tuple(_watchers):
        told(retry_after)
