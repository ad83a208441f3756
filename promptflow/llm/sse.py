"""Server-sent events: bytes as they come -> the data of each event."""

from __future__ import annotations

MAX_EVENT = 16 * 1024 * 1024


class EventTooLong(ValueError):
    """An event grew beyond any that a model's server sends."""


class EventParser:
    """Feed it bytes; it gives the data of every event that is complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        events: list[bytes] = []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line.removesuffix(b"\r"), events)
        if self._size + len(self._rest) > MAX_EVENT:
            raise EventTooLong(f"an event of more than {MAX_EVENT} bytes")
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
                self._data, self._size = [], 0
        elif line.startswith(b"data:"):
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data)

    def end(self) -> list[bytes]:
        """What is left when the server closes: some do not end their last event with an empty line."""
        events: list[bytes] = []
        self._line(self._rest.removesuffix(b"\r"), events)
        self._rest = b""
        self._line(b"", events)
        return events
