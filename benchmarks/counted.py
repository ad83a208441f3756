"""A line on loopback that counts the bytes that go over it, both ways, heads of requests and answers included."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Line:
    """Leads to a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port, self.bytes = port, 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def take(self) -> int:
        """Bytes since the last time."""
        with self.lock:
            taken, self.bytes = self.bytes, 0
        return taken

    def run(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:  # closed
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._hand_on, args=(one, other), daemon=True).start()

    def _hand_on(self, source: socket.socket, to: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                with self.lock:
                    self.bytes += len(data)
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side hung up, which ends the other


@contextmanager
def counted(port: int) -> Iterator[Line]:
    line = Line(port)
    threading.Thread(target=line.run, daemon=True).start()
    try:
        yield line
    finally:
        line.listener.shutdown(socket.SHUT_RDWR)
        line.listener.close()
