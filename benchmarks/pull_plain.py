"""The least that a pull must do: a server that lets the kernel send parts of one file, a client that asks for one part
after the other and writes them to the disk. No hash, no HTTP library, no second thread.

``python -m benchmarks.pull_plain FILE`` is the server.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path

_PART = 8 << 20
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


def fetch(port: int, size: int, place: Path) -> None:
    """The whole file to the disk itself."""
    room = memoryview(bytearray(_PART))
    with socket.create_connection(("127.0.0.1", port)) as connection, place.open("wb", buffering=0) as file:
        for start in range(0, size, _PART):
            part = room[: size - start]
            connection.sendall(b"GET / HTTP/1.1\r\nRange: bytes=%d-%d\r\n\r\n" % (start, start + len(part) - 1))
            _head(connection)
            got = 0
            while got < len(part):
                got += connection.recv_into(part[got:])
            file.write(part)
        os.fsync(file.fileno())


if __name__ == "__main__":
    serve(sys.argv[1])
