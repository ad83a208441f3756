"""The client of models on plain http://, against servers that are written byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from promptflow.llm import plain_http
from promptflow.llm.plain_http import (
    Answer,
    BrokenError,
    Connections,
    Limits,
    TooLongError,
    UnreachableError,
    direct,
    place_of,
)

LIMITS = Limits(connect=5, silence=5, whole=None, answer=1000, error=100)
OK = b"HTTP/1.1 200 OK\r\n"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers every request on a connection with the same bytes, and hangs up after as many as ``requests``."""

    def __init__(self, *pieces: bytes, requests: int = 100) -> None:
        self.pieces, self.requests = pieces, requests
        self.connections = 0
        self.heads: list[bytes] = []
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            for _ in range(self.requests):
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                for piece in self.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.002)
                if not self.pieces:
                    await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def asked(server: Handle, limits: Limits = LIMITS) -> AsyncIterator[Callable[[], Awaitable[Answer]]]:
    """A call that asks this server once."""
    async with await asyncio.start_server(server, "127.0.0.1", 0) as listener:
        place = place_of("GET", f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1/x?y=1")
        connections = await direct()
        assert place is not None and connections is not None
        try:
            yield lambda: connections.ask(place, {"Authorization": "Bearer k"}, None, limits)
        finally:
            await connections.close()
            await asyncio.sleep(0.01)  # the server notices


@pytest.mark.parametrize(
    ("pieces", "connections"),
    [
        ((OK + b"content-length: 5\r\n\r\nhello",), 1),
        (tuple(bytes([byte]) for byte in OK + b"Content-Length: 5\r\n\r\nhello"), 1),
        ((OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"), 1),
        ((b"HTTP/1.1 100 Continue\r\ncontent-length: 9\r\n\r\n", OK + b"content-length: 5\r\n\r\nhello"), 1),
        ((OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",), 3),
        ((b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",), 3),
        ((OK + b"content-length: 5\r\n\r\nhello" + OK + b"content-length: 3\r\nx: y\r\n\r\nbad",), 3),
        ((OK + b"content-length: 5\r\n\r\nhelloabc",), 3),
    ],
    ids=["whole", "bytes", "chunks", "continue", "close", "old", "two", "more"],
)
def test_answers_come_whole_and_connections_are_kept_where_they_can(
    pieces: tuple[bytes, ...], connections: int
) -> None:
    server = Server(*pieces)

    async def ask() -> None:
        async with asked(server) as once:
            for _ in range(3):
                answer = await once()
                assert (answer.status, answer.body) == (200, b"hello")
                assert answer.headers.get("x") is None

    asyncio.run(ask())
    assert server.connections == connections
    assert server.heads[0].startswith(b"GET /v1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization: Bearer k\r\n" in server.heads[0]


@pytest.mark.parametrize(
    ("coding", "packed", "words"),
    [
        ("gzip", gzip.compress(b"hello"), b"hello"),
        ("deflate", zlib.compress(b"hello"), b"hello"),
        ("identity", b"hello", b"hello"),
        ("gzip", b"hello", BrokenError),
        ("gzip", gzip.compress(bytes(1_000_000)), TooLongError),
    ],
)
def test_an_answer_that_is_packed_unasked_is_unpacked(coding: str, packed: bytes, words: bytes | type) -> None:
    head = f"content-encoding: {coding}\r\ncontent-length: {len(packed)}\r\n\r\n"
    server = Server(OK + head.encode() + packed)

    async def ask() -> bytes:
        async with asked(server, Limits(5, 5, None, 2000, 100)) as once:
            return (await once()).body

    if isinstance(words, bytes):
        assert asyncio.run(ask()) == words
    else:
        with pytest.raises(words):
            asyncio.run(ask())
    assert b"Accept-Encoding: identity\r\n" in server.heads[0]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    server = Server(OK + b"\r\nhel", b"lo", requests=1)

    async def ask() -> Answer:
        async with asked(server) as once:
            return await once()

    assert asyncio.run(ask()).body == b"hello"


@pytest.mark.parametrize(
    "pieces",
    [
        (OK + b"content-length: 50\r\n\r\nhel",),
        (OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhel",),
        (OK,),
        (b"nonsense\r\n\r\n",),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",),
    ],
)
def test_answers_that_end_early_or_are_none_are_broken(pieces: tuple[bytes, ...]) -> None:
    async def ask() -> None:
        async with asked(Server(*pieces, requests=1)) as once:
            await once()

    with pytest.raises(BrokenError):
        asyncio.run(ask())


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    server = Server(OK + b"content-length: 2\r\n\r\nhi", requests=1)

    async def ask() -> None:
        async with asked(server) as once:
            for _ in range(3):
                assert (await once()).body == b"hi"
                await asyncio.sleep(0.02)

    asyncio.run(ask())
    assert server.connections == 3


def test_who_stops_waiting_hangs_up() -> None:
    server = Server()

    async def ask() -> None:
        async with asked(server) as once:
            task = asyncio.ensure_future(once())
            while not server.heads:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while server.open:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(ask(), 20))


@pytest.mark.parametrize("limits", [Limits(5, 0.05, None, 9, 9), Limits(5, 5, 0.05, 9, 9)], ids=["silence", "whole"])
def test_a_server_that_says_nothing_runs_into_the_timeout(limits: Limits) -> None:
    async def ask() -> None:
        async with asked(Server(), limits) as once:
            await once()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(ask(), 20))


def test_silence_counts_from_the_last_news() -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (OK, b"content-length: 6\r\n\r\n", b"ab", b"cd", b"ef"):
            await asyncio.sleep(0.3)
            writer.write(piece)
        await reader.read()
        writer.close()

    async def ask() -> Answer:
        async with asked(slow, Limits(5, 1.0, None, 99, 99)) as once:
            return await once()

    assert asyncio.run(ask()).body == b"abcdef"


@pytest.mark.parametrize("head", [b"content-length: 1001\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e9\r\n"])
def test_too_long_an_answer_is_not_kept(head: bytes) -> None:
    async def ask() -> None:
        async with asked(Server(OK + head, b"x" * 1001)) as once:
            await once()

    with pytest.raises(TooLongError):
        asyncio.run(ask())


def test_of_an_error_no_more_than_its_beginning_is_read() -> None:
    server = Server(b"HTTP/1.1 500 Oh\r\nRetry-After: 7\r\ntransfer-encoding: chunked\r\n\r\n", b"100\r\n" + b"x" * 256)

    async def ask() -> Answer:
        async with asked(server) as once:
            return await once()

    answer = asyncio.run(asyncio.wait_for(ask(), 20))
    assert answer.status == 500 and answer.headers["retry-after"] == "7" and len(answer.body) >= 100


def test_what_is_not_used_for_a_while_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "IDLE_SECONDS", 0.05)
    server = Server(OK + b"content-length: 2\r\n\r\nhi")

    async def ask() -> None:
        async with asked(server) as once:
            await asyncio.gather(once(), once(), once())
            while server.open:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(ask(), 20))
    assert server.connections == 3


@pytest.mark.parametrize("name", ["Authorization", "x\r\ny"])
def test_a_header_cannot_hold_another(name: str) -> None:
    place = place_of("POST", "http://127.0.0.1:1/")
    assert place is not None

    async def ask() -> None:
        await Connections().ask(place, {name: "Bearer k\r\nx-more: 1"}, b"", LIMITS)

    with pytest.raises(ValueError, match="line break"):
        asyncio.run(ask())


def test_a_server_that_is_not_there() -> None:
    place = place_of("POST", "http://127.0.0.1:1/")
    assert place is not None

    async def ask() -> None:
        await Connections().ask(place, {}, b"", LIMITS)

    with pytest.raises(UnreachableError, match="Cannot connect to 127.0.0.1:1: "):
        asyncio.run(ask())


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://localhost/v1/chat", ("localhost", 80)),
        ("http://model.lan:8000/v1/chat?api-version=2024-02-01", ("model.lan", 8000)),
        ("http://h", ("h", 80)),
        ("https://localhost/v1", None),
        ("http://user:password@h/v1", None),
        ("http://h/with space", None),
        ("http://h/ü", None),
        ("http://h/x#y", None),
        ("http://[::1]/x", None),
        ("http://h:99999/x", None),
        ("http://h/x\r\ny: z", None),
        ("http://h/x\n", None),
        ("nonsense", None),
    ],
)
def test_which_addresses_are_plain(url: str, place: tuple[str, int] | None) -> None:
    found = place_of("POST", url)
    assert place == (found and (found.host, found.port))
