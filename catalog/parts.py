"""Parts of one file, fetched on several connections and written where they belong, given out in their order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from queue import SimpleQueue

from catalog.ranges import RangeReader, RemoteFile, TryAgainError

PART = 2 << 20  # what is asked for at once: a request costs a fifth of the processor time of what it brings
WINDOW = 8 << 20
CONNECTIONS = 4
_TRIES = 6
_GOODBYE = 1.0  # seconds that a connection is waited for at the end

_Orders = SimpleQueue[tuple[int, memoryview] | None]
_Done = SimpleQueue[int | BaseException]


class Parts:
    """The parts from ``start`` on, each a view of its bytes that is good until the next one is asked for.

    At most ``WINDOW`` bytes are asked for and not yet given out and done with.
    """

    def __init__(self, file: RemoteFile, handle: int, start: int) -> None:
        self.file, self.start = file, start
        self.orders: _Orders = SimpleQueue()
        self.done: _Done = SimpleQueue()
        self.room = [memoryview(bytearray(PART)) for _ in range(min(WINDOW // PART, -(-(file.size - start) // PART)))]
        self.fetchers = [_Fetcher(file, handle, self.orders, self.done) for _ in self.room[:CONNECTIONS]]

    def __enter__(self) -> Parts:
        for fetcher in self.fetchers:
            fetcher.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for fetcher in self.fetchers:
            fetcher.stop.set()
            self.orders.put(None)
        for fetcher in self.fetchers:
            # One that waits for a server that has gone quiet is left to itself: it writes no more.
            fetcher.join(_GOODBYE)
            with fetcher.writing:
                pass

    def __iter__(self) -> Iterator[memoryview]:
        begun = self.start
        held: dict[int, memoryview] = {}
        ready: set[int] = set()
        for at in range(self.start, self.file.size, PART):
            while self.room and begun < self.file.size:
                room = self.room.pop(0)
                held[begun] = room[: self.file.size - begun]
                self.orders.put((begun, held[begun]))
                begun += PART
            while at not in ready:
                came = self.done.get()
                if isinstance(came, BaseException):
                    raise came
                ready.add(came)
            yield held[at]
            ready.remove(at)
            self.room.append(held.pop(at))


class _Fetcher(threading.Thread):
    """One connection. Once ``stop`` is set and ``writing`` is free it does not touch the file any more."""

    def __init__(self, file: RemoteFile, handle: int, orders: _Orders, done: _Done) -> None:
        super().__init__(name="pull", daemon=True)
        self.file, self.handle, self.orders, self.done = file, handle, orders, done
        self.stop, self.writing = threading.Event(), threading.Lock()

    def run(self) -> None:
        reader = RangeReader()
        try:
            while (order := self.orders.get()) is not None:
                start, room = order
                read_part(reader, self.file, start, room, self.stop)
                with self.writing:
                    if self.stop.is_set():
                        return
                    write_at(self.handle, start, room)
                self.done.put(start)
        except BaseException as error:  # handed to whoever takes the parts
            self.done.put(error)
        finally:
            reader.close()


def read_part(
    reader: RangeReader, file: RemoteFile, start: int, into: memoryview, stop: threading.Event | None = None
) -> None:
    """Read a part; again, with growing pauses, where that may help and nobody has said to stop."""
    stop = stop or threading.Event()
    for number in range(_TRIES):
        try:
            return reader.read(file, start, into)
        except TryAgainError as error:
            if number == _TRIES - 1 or stop.wait(max(error.after, 0.1 * 2**number)):
                raise


def write_at(handle: int, start: int, data: memoryview) -> None:
    """All of ``data`` at a place of a file."""
    while data:
        count = os.pwrite(handle, data, start)
        data, start = data[count:], start + count
