"""Who is told when a model's server is asked too much: batches, which then run fewer lines at once, and lines, whose
timeout does not count the wait for a place among the requests of a minute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Gets the seconds that the server asked to wait, if it did, and whether it was the server that refused a request: else
# one waits for a place within the limits of its connection.
Told = Callable[[float | None, bool], None]
_watchers: list[Told] = []
more_time: ContextVar[Callable[[float], None] | None] = ContextVar("promptflow_more_time", default=None)


@contextmanager
def watching(told: Told) -> Iterator[None]:
    """``told`` is called inside the block, from any thread, for each request in this process, and in the workers that
    it waits for, that came too early."""
    _watchers.append(told)
    try:
        yield
    finally:
        _watchers.remove(told)


def tell(retry_after: float | None = None, *, refused: bool = True) -> None:
    for told in tuple(_watchers):
        told(retry_after, refused)


def give_time(seconds: float) -> None:
    """What runs in this context gets so much longer."""
    give = more_time.get()
    if give is not None:
        give(seconds)
