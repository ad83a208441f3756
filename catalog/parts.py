"""A file in chunks, fetched on several connections, given out in their order while they are written where they belong.

A chunk is received, hashed and written at the same time as others: each keeps another part of the machine busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

from catalog.direct import PartWriter, aligned
from catalog.ranges import RangeReader, RemoteFile, TryAgainError

CHUNK = 1 << 20
WINDOW = 8  # chunks
CONNECTIONS = 4
_AT_ONCE = 2  # chunks that are asked for with one request, which costs a fifth of the processor time of what one brings
_TRIES = 6
_GOODBYE = 1.0  # seconds that a connection is waited for at the end


@dataclass(frozen=True)
class Chunk:
    """Bytes that came, good until the next chunk is asked for, which must not be before they are ``kept``."""

    start: int
    data: memoryview
    kept: Future[None]  # OSError


_Came = SimpleQueue[Chunk | BaseException]


@dataclass(frozen=True)
class _Order:
    """Chunks in a row from ``start`` on, and the memory of each."""

    start: int
    rooms: Sequence[memoryview]


class Parts:
    """The chunks from ``start`` on.

    At most ``WINDOW`` chunks are asked for and not yet given out and done with.
    """

    def __init__(self, file: RemoteFile, writer: PartWriter, start: int) -> None:
        self.file, self.start = file, start
        self.orders: SimpleQueue[_Order | None] = SimpleQueue()
        self.came: _Came = SimpleQueue()
        self.free = [aligned(CHUNK) for _ in range(min(WINDOW, -(-(file.size - start) // CHUNK)))]
        connections = min(CONNECTIONS, -(-len(self.free) // _AT_ONCE))
        self.fetchers = [_Fetcher(file, writer, self.orders, self.came) for _ in range(connections)]

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

    def __iter__(self) -> Iterator[Chunk]:
        begun = self.start
        ready: dict[int, Chunk] = {}
        for at in range(self.start, self.file.size, CHUNK):
            while order := self._next(begun):
                begun += sum(map(len, order.rooms))
                self.orders.put(order)
            while at not in ready:
                came = self.came.get()
                if isinstance(came, BaseException):
                    raise came
                ready[came.start] = came
            yield ready[at]
            self.free.append(ready.pop(at).data.obj)  # type: ignore[arg-type]

    def _next(self, begun: int) -> _Order | None:
        """What to ask for from ``begun`` on; None while there is no memory for it, and at the end."""
        left = -(-(self.file.size - begun) // CHUNK)
        count = min(left, _AT_ONCE)
        if not 0 < count <= len(self.free):
            return None
        rooms = [memoryview(self.free.pop()) for _ in range(count)]
        rooms[-1] = rooms[-1][: self.file.size - begun - (count - 1) * CHUNK]
        return _Order(begun, rooms)


class _Fetcher(threading.Thread):
    """One connection. Once ``stop`` is set and ``writing`` is free it does not touch the file any more."""

    def __init__(self, file: RemoteFile, writer: PartWriter, orders: SimpleQueue[_Order | None], came: _Came) -> None:
        super().__init__(name="pull", daemon=True)
        self.file, self.writer, self.orders, self.came = file, writer, orders, came
        self.stop, self.writing = threading.Event(), threading.Lock()

    def run(self) -> None:
        reader = RangeReader()
        try:
            while (order := self.orders.get()) is not None:
                read_part(reader, self.file, order.start, order.rooms, self._keep, self.stop)
        except BaseException as error:  # handed to whoever takes the chunks
            self.came.put(error)
        finally:
            reader.close()

    def _keep(self, start: int, data: memoryview) -> None:
        chunk = Chunk(start, data, Future())
        with self.writing:
            if self.stop.is_set():
                return
            self.came.put(chunk)
            try:
                self.writer.write(start, data)
            except BaseException as error:
                chunk.kept.set_exception(error)
                raise
        chunk.kept.set_result(None)


def read_part(
    reader: RangeReader,
    file: RemoteFile,
    start: int,
    rooms: Sequence[memoryview],
    came: Callable[[int, memoryview], None] = lambda start, chunk: None,
    stop: threading.Event | None = None,
) -> None:
    """Fill ``rooms`` from ``start`` on, and say of each when it is full; what did not come is asked for again, with
    growing pauses, where that may help and nobody has said to stop."""
    stop = stop or threading.Event()
    at, left = start, list(rooms)

    def filled() -> None:
        nonlocal at
        chunk = left.pop(0)
        came(at, chunk)
        at += len(chunk)

    for number in range(_TRIES):
        try:
            return reader.read(file, at, left, filled)
        except TryAgainError as error:
            if number == _TRIES - 1 or stop.wait(max(error.after, 0.1 * 2**number)):
                raise
