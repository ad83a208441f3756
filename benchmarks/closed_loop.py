"""Many connections, each with one request after another: raw asyncio, so that asking costs little beside answering."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

WARM_SECONDS = 0.5


@dataclass
class Asked:
    """What came of it: ``times`` of the answers, in seconds; ``sample`` is the last body that came."""

    seconds: float = 0.0
    cpu: float = 0.0
    times: list[float] = field(default_factory=list)
    errors: int = 0
    sample: bytes = b""

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Of the server, per request."""
        return self.cpu / max(len(self.times), 1) * 1e3

    def percentile(self, share: float) -> float:
        times = sorted(self.times)
        return times[min(int(share * len(times)), len(times) - 1)] if times else 0.0


def ask(
    url: str, body: Any, at_once: int, seconds: float, cpu: Callable[[], float] = lambda: 0.0, key: str = ""
) -> Asked:
    """POST ``body`` as JSON on so many connections for so long, after a moment that is not counted; ``cpu`` tells how
    many seconds the server has used until now."""
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        return runner.run(_ask(url, json.dumps(body).encode(), at_once, seconds, cpu, key))


def fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    found: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return found


async def _ask(url: str, body: bytes, at_once: int, seconds: float, cpu: Callable[[], float], key: str) -> Asked:
    parts = urlsplit(url)
    assert parts.hostname is not None and parts.port is not None
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\naccept: application/json\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    if key:
        head = head.replace("\r\n", f"\r\nauthorization: Bearer {key}\r\n", 1)
    asked = Asked()
    loop = asyncio.get_running_loop()
    make = lambda: _Connection(head.encode() + body, asked)  # noqa: E731
    opened = [await loop.create_connection(make, parts.hostname, parts.port) for _ in range(at_once)]
    await asyncio.sleep(WARM_SECONDS)
    begun, used = time.perf_counter(), cpu()
    asked.times.clear()
    await asyncio.sleep(seconds)
    asked.seconds, asked.cpu = time.perf_counter() - begun, cpu() - used
    asked.times = list(asked.times)  # what comes after this does not count
    for transport, connection in opened:
        connection.over = True
        transport.close()
    return asked


class _Connection(asyncio.Protocol):
    def __init__(self, request: bytes, asked: Asked) -> None:
        self._request, self._asked = request, asked
        self._buffer = b""
        self._needed = 0  # bytes of the answer, once its head is there
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._asked.errors += not self.over

    def _send(self) -> None:
        self._begun = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = buffer = self._buffer + data if self._buffer else data
        if not self._needed:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._needed = end + 4 + _length(buffer[:end].lower())
        if len(buffer) < self._needed:
            return
        self._asked.times.append(time.perf_counter() - self._begun)
        if not buffer.startswith(b"HTTP/1.1 200"):
            self._asked.errors += 1
        self._asked.sample = buffer
        self._buffer, self._needed = b"", 0
        if not self.over:
            self._send()


def _length(head: bytes) -> int:
    _, found, rest = head.partition(b"content-length:")
    if not found:
        raise ValueError("the answer does not say how long it is")
    return int(rest.partition(b"\r\n")[0])
