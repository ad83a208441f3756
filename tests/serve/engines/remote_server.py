"""A server that does what it is told, byte by byte: what a real one does only on a bad day."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
RESET = object()  # the connection breaks, without a word
HALT = object()  # and nothing more, until the client goes


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int


@dataclass
class RawServer:
    """Answers with ``script``: bytes are sent, numbers are seconds to wait. It keeps connections open if ``keep``."""

    script: Sequence[Any] = ()
    keep: bool = False
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            while await self._one(reader, writer, number) and self.keep:
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(method, path, headers, json.loads(body) if body else None, number))
        for step in self.script:
            if step is RESET:
                writer.transport.abort()
                return False
            if step is HALT:
                await reader.read()
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)
        return True


@contextmanager
def raw_server(
    *script: Any, keep: bool = False, path: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[RawServer]:
    """While it runs, in a thread; on a Unix socket if there is a ``path``."""
    server = RawServer(script, keep)
    started = threading.Event()
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        make = (
            asyncio.start_unix_server(server.answer, path)
            if path
            else asyncio.start_server(server.answer, "127.0.0.1", ssl=tls)
        )
        listening = await make
        server.port = 0 if path else listening.sockets[0].getsockname()[1]
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        started.set()
        await ended.wait()
        listening.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    started.wait(20)
    try:
        yield server
    finally:
        stop[0]()
        thread.join(20)


def signed_by_itself(folder: Path) -> ssl.SSLContext:
    """What a server needs for TLS, with a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    certificate = made.sign(key, hashes.SHA256())
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "both.pem").write_bytes(plain + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


def event(data: Any) -> bytes:
    """An event as a part of a chunked body."""
    text = data if isinstance(data, bytes) else b"data: " + json.dumps(data).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def delta(text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": finish}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}}
DONE = event(b"data: [DONE]\n\n")
END = b"0\r\n\r\n"


def streamed(*deltas: Any) -> bytes:
    """A whole answer that ends as it should."""
    return b"".join([HEAD, *(event(one) for one in deltas), DONE, END])


def refused(status: int, body: bytes, *headers: str) -> bytes:
    more = "".join(f"{header}\r\n" for header in headers)
    return (
        f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
        + body
    )


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)
