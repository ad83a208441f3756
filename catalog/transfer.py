"""One large file from a hub to the disk: parts in parallel, hashed and written in order, resumed where it stopped.

What is on the disk is always a beginning of the file. Beside it lies a list of what sha256 said after each chunk: it
costs one hash, and tells after a crash which chunk of the disk is not what came. At most ``WINDOW`` bytes are asked for
and not yet kept, so that a process that is killed loses no more.
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Protocol

from catalog.huberrors import HubError
from catalog.ranges import RangeReader, RemoteFile, TryAgainError
from promptflow.exceptions import WorkspaceError

CHUNK = 1 << 20
WINDOW = 8 << 20
CONNECTIONS = 4
PARTIAL, DIGESTS = ".pf-partial", ".pf-digests"
_TRIES = 6
_GOODBYE = 1.0  # seconds that a thread is waited for at the end
_LOOKS = 8  # how many damaged chunks are replaced one by one before the rest of the file is read again

Progress = Callable[[int], None]  # bytes that are kept now, and were not before


class WrongHashError(HubError):
    """A file is not what the hub says it is, however often it is asked for."""


class Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Hash: ...


def new_hash(etag: str, size: int) -> Hash:
    """The hash that names a blob: sha256 of the content, or git's sha1 of a small file."""
    return hashlib.sha256() if len(etag) == 64 else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def download(file: RemoteFile, etag: str, blob: Path, progress: Progress = lambda count: None) -> None:
    """Fetch a file whose hash is ``etag`` to ``blob``. What an earlier try left is used; what this one leaves, too.

    WrongHashError if it is not what its hash says: nothing is kept then. HubError, WorkspaceError (the disk).
    """
    try:
        with _Download(file, etag, blob, progress) as work:
            work.run()
    except OSError as error:
        raise WorkspaceError(
            f"Cannot write {blob.name}: {error.strerror or error}.",
            hint="what came is kept; free some space, or set HF_HOME to another disk, and run the command again",
        ) from error


class _Download:
    def __init__(self, file: RemoteFile, etag: str, blob: Path, progress: Progress) -> None:
        self.file, self.etag, self.blob, self.progress = file, etag, blob, progress
        self.count = -(-file.size // CHUNK)
        self.hash = new_hash(etag, file.size)
        self.reader = RangeReader()
        self.tells = True  # the server tells digests of parts; the first answer shows whether
        self.partial = blob.with_name(blob.name + PARTIAL)
        self.journal = blob.with_name(blob.name + DIGESTS)

    def __enter__(self) -> _Download:
        self.blob.parent.mkdir(parents=True, exist_ok=True)
        self.data = _open(self.partial)
        self.digests = _open(self.journal)
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()
        self.data.close()
        self.digests.close()

    def run(self) -> None:
        done = self._resume()
        self._fetch(done)
        if self.hash.hexdigest() != self.etag:
            self._mend()
        os.fsync(self.data.fileno())
        os.replace(self.partial, self.blob)
        self.journal.unlink(missing_ok=True)

    def _resume(self) -> int:
        """Hash what is on the disk and fetch the chunks again that are not what they were; how many are good."""
        width = len(self.hash.digest())
        known = self.digests.read()
        count = min(len(known) // width, os.fstat(self.data.fileno()).st_size // CHUNK, self.count)
        self.data.seek(0)
        for number in range(count):
            before, chunk = self.hash.copy(), self.data.read(CHUNK)
            self.hash.update(chunk)
            if self.hash.digest() != known[number * width : (number + 1) * width]:
                self.hash = before
                chunk = self._again(number)
                self.hash.update(chunk)
                if self.hash.digest() != known[number * width : (number + 1) * width]:
                    # The list itself is damaged, or the file is another: what follows cannot be told to be good.
                    count = number
                    self.hash = before
                    break
                self._put(number, chunk)
            self.progress(len(chunk))
        self.data.seek(count * CHUNK)
        self.data.truncate()
        self.digests.seek(count * width)
        self.digests.truncate()
        return count

    def _fetch(self, first: int) -> None:
        """The chunks from ``first`` on: written and hashed at the same time, each listed when both are done."""
        with _Chunks(self.file, first, self.count) as chunks, ThreadPoolExecutor(1) as hasher:
            for number in range(first, self.count):
                chunk = chunks.take(number)
                hashing = hasher.submit(self._hashed, chunk)
                _write(self.data, chunk)
                _write(self.digests, hashing.result())
                self.progress(len(chunk))
                chunks.give_back(number)

    def _hashed(self, chunk: memoryview) -> bytes:
        self.hash.update(chunk)
        return self.hash.digest()

    def _mend(self) -> None:
        """The whole is wrong. Fetch the chunks again of which the server says that they are others; where it does not
        say, read every chunk a second time, and keep those that come otherwise now."""
        good = new_hash(self.etag, self.file.size)
        changed = 0
        for number in range(self.count):
            self.data.seek(number * CHUNK)
            had = chunk = self.data.read(CHUNK)
            if not self._is_said_to_be(number, had):
                chunk = self._again(number)
            good.update(chunk)
            if chunk != had:
                self._put(number, chunk)
                changed += 1
                if changed <= _LOOKS and self._with_rest(good.copy(), number + 1) == self.etag:
                    return
        if good.hexdigest() == self.etag:
            return
        self.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
        raise WrongHashError(
            f"What came has the hash {good.hexdigest()[:12]}…, and not {self.etag[:12]}… as the hub says.",
            hint="nothing was kept; the hub, or what is between, changes the file: try another with --endpoint",
        )

    def _is_said_to_be(self, number: int, chunk: bytes) -> bool:
        if self.tells:
            start = number * CHUNK
            said = self.reader.digest(self.file, start, start + len(chunk))
            self.tells = said is not None
            return said == zlib.adler32(chunk)
        return False

    def _with_rest(self, digest: Hash, first: int) -> str:
        self.data.seek(first * CHUNK)
        while chunk := self.data.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _again(self, number: int) -> bytes:
        chunk = memoryview(bytearray(_length(self.file.size, number)))
        read_chunk(self.reader, self.file, number * CHUNK, chunk)
        return bytes(chunk)

    def _put(self, number: int, chunk: bytes) -> None:
        self.data.seek(number * CHUNK)
        _write(self.data, memoryview(chunk))


class _Chunks:
    """Chunks fetched on several connections, taken in their order. There is room for ``WINDOW`` bytes: whoever fetches
    takes room first and a number then, so that the chunk that is waited for always has some."""

    def __init__(self, file: RemoteFile, first: int, count: int) -> None:
        self.file, self.next, self.count = file, first, count
        self.free = [bytearray(CHUNK) for _ in range(min(WINDOW // CHUNK, max(1, count - first)))]
        self.held: dict[int, bytearray] = {}
        self.ready: set[int] = set()
        self.error: BaseException | None = None
        self.changed = threading.Condition()
        self.stop = threading.Event()
        self.threads = [
            threading.Thread(target=self._work, name="pull", daemon=True)
            for _ in range(min(CONNECTIONS, count - first))
        ]

    def __enter__(self) -> _Chunks:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop.set()
        with self.changed:
            self.next = self.count
            self.changed.notify_all()
        for thread in self.threads:
            # One that waits for a server that has gone quiet is left to itself: it holds nothing but its own memory.
            thread.join(_GOODBYE)

    def take(self, number: int) -> memoryview:
        with self.changed:
            self.changed.wait_for(lambda: number in self.ready or self.error is not None)
            if number not in self.ready and self.error is not None:
                raise self.error
            return memoryview(self.held[number])[: _length(self.file.size, number)]

    def give_back(self, number: int) -> None:
        with self.changed:
            self.ready.discard(number)
            self.free.append(self.held.pop(number))
            self.changed.notify_all()

    def _begin(self) -> int | None:
        """The number of the next chunk, with room for it; None when there is no more to do."""
        with self.changed:
            self.changed.wait_for(lambda: self.free or self.next >= self.count or self.error is not None)
            if self.next >= self.count or self.error is not None:
                return None
            number, self.next = self.next, self.next + 1
            self.held[number] = self.free.pop()
            return number

    def _work(self) -> None:
        reader = RangeReader()
        try:
            while (number := self._begin()) is not None:
                room = memoryview(self.held[number])[: _length(self.file.size, number)]
                read_chunk(reader, self.file, number * CHUNK, room, self.stop)
                with self.changed:
                    self.ready.add(number)
                    self.changed.notify_all()
        except BaseException as error:  # handed to whoever takes the chunks
            with self.changed:
                self.error = self.error or error
                self.changed.notify_all()
        finally:
            reader.close()


def read_chunk(
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


def _length(size: int, number: int) -> int:
    return min(CHUNK, size - number * CHUNK)


def _open(path: Path) -> FileIO:
    # No link is followed: what another user laid there is not written through.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return FileIO(handle, "r+")


def _write(file: FileIO, data: memoryview | bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
