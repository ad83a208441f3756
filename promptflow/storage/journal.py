"""An append-only journal: what it holds survives the death of the process at once, that of the machine after 0.2 s.

A journal is a folder of segments ``000000.log``, ``000001.log``… with one record per line: the crc32 of the text as
eight hex digits, a space, the text, a newline. Each opening starts a segment; a full one is compressed, to
``000000.log.gz``, while the next is written. What a crash cut off or damaged is passed over by readers.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from promptflow.exceptions import WorkspaceError
from promptflow.storage.jsonl import open_file, write_all
from promptflow.workspace.atomic import make_folder

SEGMENT_BYTES = 4 << 20
SYNC_SECONDS = 0.2  # what a machine that crashes may lose
_CHUNK = 1 << 16
_NAME = re.compile(r"(\d{6,})\.log(\.gz)?")
_logger = logging.getLogger(__name__)


class Journal:
    """A journal that is written. Any thread may append; one process alone may have it open."""

    def __init__(self, folder: Path, head: Sequence[bytes] = ()) -> None:
        """``head``: records to start with. The first of them starts every later segment too."""
        self._folder = make_folder(folder)
        self._lock = threading.Lock()
        self._head = head[0] if head else None
        self._full = _clean(folder)
        self._number = max((number for number, _ in segments(folder)), default=-1)
        self._failure: OSError | None = None
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._syncer: threading.Thread | None = None
        self._open_segment(head)

    def append(self, text: bytes) -> None:
        """Add a record, which holds no newline. It is with the system when this returns.

        Raises WorkspaceError when it cannot be written, ValueError when the journal is closed.
        """
        line = _line(text)
        with self._lock:
            if self._closing.is_set():
                raise ValueError(f"{self._folder} is closed")
            if self._size + len(line) > SEGMENT_BYTES and self._size:
                self._next_segment()
            self._write(line)
        if not self._dirty.is_set():
            self._wake()

    def close(self) -> None:
        """Bring everything to the disk. The second time does nothing. Raises WorkspaceError."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            syncer = self._syncer
        self._dirty.set()
        if syncer is not None:
            syncer.join()
        self._sync()
        self._seal_full()
        os.close(self._file)
        self._check()

    def _write(self, data: bytes) -> None:
        self._check()
        try:
            write_all(self._file, data, self._path)
        except WorkspaceError:
            with suppress(OSError):  # half a record would spoil the next one
                os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _check(self) -> None:
        if self._failure is not None:
            raise WorkspaceError(f"Cannot write {self._folder}: {self._failure.strerror}.", location=str(self._folder))

    def _open_segment(self, head: Sequence[bytes]) -> None:
        self._number += 1
        self._path = self._folder / f"{self._number:06}.log"
        self._file = open_file(self._path, os.O_APPEND | os.O_EXCL)
        self._size = 0
        self._is_listed = False  # a machine that crashes now may forget its name
        self._write(b"".join(map(_line, head)))

    def _next_segment(self) -> None:
        full, file = self._path, self._file
        self._open_segment([self._head] if self._head is not None else [])
        os.close(file)  # what it holds is synchronized when it is compressed
        self._full.append(full)

    # -- in the background ---------------------------------------------------------------------------------------------
    def _wake(self) -> None:
        self._dirty.set()
        if self._syncer is None:
            with self._lock:
                if self._syncer is None and not self._closing.is_set():
                    self._syncer = threading.Thread(target=self._work, name="promptflow-journal", daemon=True)
                    self._syncer.start()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._closing.wait(SYNC_SECONDS)
            self._dirty.clear()
            self._sync()
            self._seal_full()

    def _sync(self) -> None:
        try:
            with self._lock:  # a copy: a full segment may be closed meanwhile
                file, is_listed = os.dup(self._file), self._is_listed
                self._is_listed = True
            _to_disk(file)
            if not is_listed:
                _to_disk(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self._failure = error

    def _seal_full(self) -> None:
        while self._full:
            _seal(self._full[0])
            del self._full[0]


def read_journal(folder: Path) -> Iterator[tuple[int, bytes]]:
    """``(number of its segment, text)`` of every record that is whole, in the order in which they were written."""
    for number, path in segments(folder):
        for text in read_segment(path):
            yield number, text


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Number and file of every segment, in order; the compressed one where both are there."""
    found: dict[int, Path] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            match = _NAME.fullmatch(name)
            if match and (match[2] or int(match[1]) not in found):
                found[int(match[1])] = folder / name
    return sorted(found.items())


def read_segment(path: Path) -> Iterator[bytes]:
    """The text of every record of one segment that is whole."""
    for line in _lines(path):
        if _is_whole(line):
            yield line[9:-1]


def _line(text: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(text), text)


def _to_disk(file: int) -> None:
    """Synchronize and close."""
    try:
        os.fsync(file) if sys.platform == "darwin" else os.fdatasync(file)
    finally:
        os.close(file)


def _is_whole(line: bytes) -> bool:
    if line[-1:] != b"\n" or line[8:9] != b" ":
        return False
    try:
        return int(line[:8], 16) == zlib.crc32(memoryview(line)[9:-1])
    except ValueError:
        return False


def _lines(path: Path) -> Iterator[bytes]:
    try:
        if path.suffix == ".gz":
            yield from _unpacked(path)
        else:
            with path.open("rb") as stream:
                yield from stream
    except FileNotFoundError:  # compressed since it was listed
        if path.suffix != ".gz":
            yield from _lines(path.with_name(f"{path.name}.gz"))


def _unpacked(path: Path) -> Iterator[bytes]:
    unzip = zlib.decompressobj(wbits=31)
    rest = b""
    with path.open("rb") as stream:
        try:
            while chunk := stream.read(_CHUNK):
                *lines, rest = (rest + unzip.decompress(chunk)).split(b"\n")
                for line in lines:
                    yield line + b"\n"
        except zlib.error as error:
            _logger.warning("%s is damaged, what follows in it is lost: %s", path, error)


def _clean(folder: Path) -> list[Path]:
    """Cut what crashes left half written; the segments that are to be compressed."""
    for path in folder.glob("*.tmp"):
        path.unlink()
    plain = []
    for _, path in segments(folder):
        if path.suffix == ".gz":
            path.with_suffix("").unlink(missing_ok=True)
        else:
            _cut(path)
            plain.append(path)
    return plain


def _cut(path: Path) -> None:
    """Cut off the end of a segment from where no whole record follows."""
    position = end = 0
    for line in _lines(path):
        position += len(line)
        if _is_whole(line):
            end = position
    if end < position:
        os.truncate(path, end)


def _seal(path: Path) -> None:
    """Compress a segment. Where that fails (a full disk), it stays as it is."""
    sealed = path.with_name(f"{path.name}.gz")
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        zip_ = zlib.compressobj(1, wbits=31)
        piece = memoryview(bytearray(_CHUNK))  # one for all: a new one each time leaves holes in the thread's memory
        with path.open("rb", buffering=0) as source, temporary.open("wb") as target:
            while size := source.readinto(piece):
                target.write(zip_.compress(piece[:size]))
            target.write(zip_.flush())
            target.flush()
            os.fsync(target.fileno())
        os.replace(temporary, sealed)
        path.unlink()
    except OSError as error:
        _logger.debug("%s is not compressed: %s", path, error)
        with suppress(OSError):
            temporary.unlink()
