"""The least that a pull must do: a server that lets the kernel send parts of one file, a client that fetches them on a
few connections, sends them straight to the disk, and meanwhile hashes them in their order. No HTTP library, no list of
what is there, no checks.

``python -m benchmarks.pull_plain FILE`` is the server.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import socket
import sys
import threading
from pathlib import Path
from queue import SimpleQueue

_PART = 2 << 20
_CONNECTIONS = 4
_RANGE = re.compile(rb"bytes=(\d+)-(\d+)")
_END = b"\r\n\r\n"


def serve(path: str) -> None:
    """Answers range requests for the file, one thread for each connection; its port is printed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_answer, args=(connection, path), daemon=True).start()


def _answer(connection: socket.socket, path: str) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, open(path, "rb", buffering=0) as file:
        while head := _head(connection):
            found = _RANGE.search(head)
            assert found is not None
            start, end = int(found[1]), int(found[2]) + 1
            connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % (end - start))
            while start < end:
                start += os.sendfile(connection.fileno(), file.fileno(), start, end - start)


def _head(connection: socket.socket) -> bytes:
    """The next request or answer up to its empty line, read without a byte of what follows; empty at the end."""
    head = b""
    while not head.endswith(_END):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def fetch(port: int, size: int, place: Path) -> str:
    """The whole file to the disk itself; its SHA-256. ``size``: a multiple of ``_PART``."""
    handle = os.open(place, os.O_WRONLY | os.O_CREAT | getattr(os, "O_DIRECT", 0))
    orders: SimpleQueue[tuple[int, mmap.mmap] | None] = SimpleQueue()
    came: SimpleQueue[tuple[int, mmap.mmap, threading.Event]] = SimpleQueue()
    threads = [threading.Thread(target=_fetch, args=(port, handle, orders, came)) for _ in range(_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for number in range(_CONNECTIONS):
        orders.put((number * _PART, mmap.mmap(-1, _PART)))
    digest = hashlib.sha256()
    ready: dict[int, tuple[mmap.mmap, threading.Event]] = {}
    for start in range(0, size, _PART):
        while start not in ready:
            at, room, written = came.get()
            ready[at] = room, written
        room, written = ready.pop(start)
        digest.update(room)
        written.wait()
        following = start + _CONNECTIONS * _PART
        orders.put((following, room) if following < size else None)
    for thread in threads:
        thread.join()
    os.fsync(handle)
    os.close(handle)
    return digest.hexdigest()


def _fetch(
    port: int,
    handle: int,
    orders: SimpleQueue[tuple[int, mmap.mmap] | None],
    came: SimpleQueue[tuple[int, mmap.mmap, threading.Event]],
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while order := orders.get():
            start, room = order
            connection.sendall(b"GET / HTTP/1.1\r\nRange: bytes=%d-%d\r\n\r\n" % (start, start + _PART - 1))
            _head(connection)
            view, got = memoryview(room), 0
            while got < _PART:
                got += connection.recv_into(view[got:])
            came.put((start, room, written := threading.Event()))
            os.pwrite(handle, room, start)
            written.set()


if __name__ == "__main__":
    serve(sys.argv[1])
