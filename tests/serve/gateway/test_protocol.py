"""Clients that mean no good: slow ones, large ones, and those who smuggle."""

from __future__ import annotations

import asyncio

import pytest

from serve.gateway.protocol import check_all
from tests.serve.gateway.stage import Echo, Stage, stage

HEAD = b"POST /endpoints/shop/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer first-key\r\n"


def test_headers_that_never_end_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.gateway.protocol.HEADER_SECONDS", 0.05)

    async def play() -> None:
        async with stage() as it:
            watched(it)
            assert (await it.raw(HEAD)).startswith(b"HTTP/1.1 408")
            assert (await it.raw(b"")).startswith(b"HTTP/1.1 408")

    asyncio.run(play())


def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.gateway.protocol.BODY_SECONDS", 0.05)

    async def play() -> None:
        async with stage() as it:
            watched(it)
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            assert await it.raw(HEAD + b"content-length: 100\r\n\r\nonly this") == b""
            assert not echo.seen
            assert it.lanes["blue"].in_flight == 0

    asyncio.run(play())


def test_a_slow_sender_of_a_long_body_holds_its_instance_no_longer_than_a_request_may_take() -> None:
    async def play() -> None:
        async with stage() as it:
            it.lane("blue", timeout=0.1)
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            answer = await it.raw(HEAD + b"content-length: 3000000\r\n\r\n" + b"x" * 2_000_000)
            assert answer.startswith(b"HTTP/1.1 408")
            assert it.lanes["blue"].in_flight == 0

    asyncio.run(play())


def test_headers_have_a_size_limit() -> None:
    async def play() -> None:
        async with stage() as it:
            answer = await it.raw(HEAD + b"x-large: " + b"x" * 70_000)
            assert answer.startswith(b"HTTP/1.1 431")

    asyncio.run(play())


@pytest.mark.parametrize(
    "rest",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n\r\n12345",
        b"content-length: -1\r\n\r\n",
        b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"x-bad: a\x00b\r\n\r\n",
        b"x bad: a\r\n\r\n",
        b"x-bad : a\r\n\r\n",
        b"x-folded: a\r\n b: c\r\ncontent-length: 0\r\n\r\nGARBAGE\r\n\r\n",
    ],
)
def test_requests_that_are_none_never_reach_an_instance_twice(rest: bytes) -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            answer = await it.raw(HEAD + b"connection: close\r\n" + rest)
            assert answer.split()[1] in (b"400", b"200")
            assert len(echo.seen) <= 1

    asyncio.run(play())


@pytest.mark.parametrize("given", [b"a\tb", b"a b", b"x" * 129, b"a;b", b"\xff"])
def test_a_request_id_that_could_do_harm_is_replaced(given: bytes) -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            answer = await it.raw(
                HEAD + b"connection: close\r\ncontent-length: 0\r\nx-request-id: " + given + b"\r\n\r\n"
            )
            (line,) = [line for line in answer.split(b"\r\n") if line.startswith(b"x-request-id")]
            assert len(line) == len(b"x-request-id: ") + 32
            assert given not in answer

    asyncio.run(play())


def test_headers_for_the_next_hop_end_here() -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            await it.raw(
                HEAD + b"connection: close, x-secret\r\nx-secret: 1\r\nte: trailers\r\nkeep-alive: 9\r\nx-kept: 1\r\n"
                b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}"
            )
            seen = echo.seen[0]["headers"]
            assert seen["x-kept"] == "1" and seen["content-length"] == "2"
            assert not {"x-secret", "te", "keep-alive", "expect", "authorization"} & seen.keys()

    asyncio.run(play())


def test_requests_on_one_connection_are_answered_in_turn() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            one = HEAD + b"content-length: 2\r\n\r\n{}"
            last = HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\n{}"
            answer = await it.raw(one * 3 + last)
            assert answer.count(b"HTTP/1.1 200") == 4

    asyncio.run(play())


def test_a_head_request_is_answered_without_a_body() -> None:
    async def play() -> None:
        async with stage() as it:
            await it.instance("blue", Echo())
            it.open({"blue": 100})
            assert (await it.ask(method="HEAD", data=None))[:2] == (200, b"")
            assert (await it.ask())[0] == 200

    asyncio.run(play())


def watched(it: Stage) -> None:
    """Connections are looked at as the server does it, only more often."""

    async def look() -> None:
        while True:
            await asyncio.sleep(0.02)
            check_all(it.server.server_state.connections, asyncio.get_running_loop().time())

    it.stack.callback(asyncio.create_task(look()).cancel)
