"""The tape in use, if any: asked before every call to a model, so it costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from promptflow.tracing.aside import is_aside

if TYPE_CHECKING:
    from promptflow.tape.handover import Handover


class Tape(Protocol):
    """A `Recorder` or a `Player`."""

    def connection(self, name: Any, find: Callable[[], Any], make: Callable[[dict[str, Any], str], Any]) -> Any:
        """The connection that the flow gets; ``make`` makes one of a dictionary."""
        ...

    def handover(self) -> Handover | None:
        """What another process needs to go by it."""
        ...

    def begin_in(self, folder: Path) -> None:
        """Write to this folder, which is the run's, from now on."""
        ...


_active: list[Tape] = []
_chosen: ContextVar[Tape | None] = ContextVar("promptflow_tape", default=None)


def current() -> Tape | None:
    """The tape of this context. A thread that user code started carries no context: it gets the only tape there is."""
    if not _active or is_aside():
        return None
    chosen = _chosen.get()
    if chosen is not None and chosen in _active:
        return chosen
    return _active[0] if len(_active) == 1 else None


@contextmanager
def using(tape: Tape) -> Iterator[None]:
    """Calls inside go by this tape."""
    token = _chosen.set(tape)
    _active.append(tape)
    try:
        yield
    finally:
        _active.remove(tape)
        _chosen.reset(token)
