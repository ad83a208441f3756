"""One large file from a hub to the disk: parts in parallel, hashed in their order, resumed where it stopped.

Beside the file lies a list of what sha256 said after each chunk: it costs one hash, tells after a crash how much of the
file is there, and which chunk of the disk is not what came. At most ``WINDOW`` bytes are asked for and not yet in the
list, so that a process that is killed loses no more.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Protocol

from catalog.direct import PartWriter, write_at
from catalog.flush import Flusher
from catalog.huberrors import HubError
from catalog.parts import CHUNK, Parts, read_part
from catalog.ranges import RangeReader, RemoteFile
from promptflow.exceptions import WorkspaceError

PARTIAL, DIGESTS = ".pf-partial", ".pf-digests"
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


def listed(blob: Path) -> int:
    """Bytes that an earlier try left of a file, as far as can be told without reading them."""
    partial, journal = blob.with_name(blob.name + PARTIAL), blob.with_name(blob.name + DIGESTS)
    if not partial.is_file() or not journal.is_file():
        return 0
    return journal.stat().st_size // (len(blob.name) // 2) * CHUNK


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
        self.writer = PartWriter(self.data.fileno(), self.partial)
        return self

    def __exit__(self, *exc: object) -> None:
        nothing = os.fstat(self.digests.fileno()).st_size == 0
        self.reader.close()
        self.writer.close()
        self.data.close()
        self.digests.close()
        if nothing:
            self._forget()

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
        """The chunks from ``first`` on: each is listed when it was written and hashed."""
        with Parts(self.file, self.writer, first * CHUNK) as parts, Flusher(self.data.fileno()) as flusher:
            for chunk in parts:
                self.hash.update(chunk.data)
                chunk.kept.result()
                _write(self.digests, self.hash.digest())
                self.progress(len(chunk.data))
                flusher.wrote(len(chunk.data))

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
        self._forget()
        raise WrongHashError(
            f"What came has the hash {good.hexdigest()[:12]}…, and not {self.etag[:12]}… as the hub says.",
            hint="nothing was kept; the hub, or what is between, changes the file: try another with --endpoint",
        )

    def _forget(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

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
        chunk = memoryview(bytearray(min(CHUNK, self.file.size - number * CHUNK)))
        read_part(self.reader, self.file, number * CHUNK, [chunk])
        return bytes(chunk)

    def _put(self, number: int, chunk: bytes) -> None:
        write_at(self.data.fileno(), number * CHUNK, memoryview(chunk))


def _open(path: Path) -> FileIO:
    # No link is followed: what another user laid there is not written through.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return FileIO(handle, "r+")


def _write(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
