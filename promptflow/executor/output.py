"""What a line's code prints goes to that line's log, not to the terminal."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

LIMIT = 1_000_000  # characters kept of one line: a tool that prints without end must not fill memory or disk

_current: ContextVar[LineOutput | None] = ContextVar("promptflow_line_output", default=None)
_lock = threading.Lock()
_users = 0


class LineOutput:
    """The first `LIMIT` characters that one line printed."""

    __slots__ = ("_length", "_parts")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0

    def write(self, text: str) -> None:
        room = LIMIT - self._length
        if room > 0:
            self._parts.append(text[:room])
        self._length += len(text)

    @property
    def text(self) -> str:
        cut = f"\n[{self._length - LIMIT} more characters left out]\n" if self._length > LIMIT else ""
        return "".join(self._parts) + cut


class _Router(io.TextIOBase):
    """Stands for sys.stdout or sys.stderr: writes to the output of the current line, else to the stream behind."""

    def __init__(self, behind: TextIO) -> None:
        self.behind = behind

    def write(self, text: str) -> int:
        line = _current.get()
        if line is None:
            return self.behind.write(text)
        line.write(text)
        return len(text)

    def flush(self) -> None:
        if not getattr(self.behind, "closed", False):
            self.behind.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


@contextmanager
def routed_output() -> Iterator[None]:
    """While the block runs, prints inside `line_output` are kept apart. Several batches may run at once."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            sys.stdout, sys.stderr = _Router(sys.stdout), _Router(sys.stderr)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if isinstance(stream, _Router):  # else somebody replaced it meanwhile
                        setattr(sys, name, stream.behind)


@contextmanager
def line_output() -> Iterator[LineOutput]:
    """Collect what the block prints, in threads and tasks too that carry its context."""
    output = LineOutput()
    token = _current.set(output)
    try:
        yield output
    finally:
        _current.reset(token)
