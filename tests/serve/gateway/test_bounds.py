"""Heads that are large although they come at once, and bodies that never stop coming."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from serve.gateway.bounds import BODY_RATE, BODY_SECONDS, check_pace
from serve.gateway.protocol import HEADER_BYTES
from serve.gateway.refusals import Refusal
from tests.serve.gateway.stage import Echo, stage

HEAD = b"POST /endpoints/shop/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer first-key\r\n"
END = b"connection: close\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD + b"x-large: " + b"x" * (HEADER_BYTES - 300) + b"\r\n", b"200"),
        (HEAD + b"x-large: " + b"x" * (HEADER_BYTES + 1000) + b"\r\n", b"431"),
        (HEAD + b"".join(b"x-%d: 1\r\n" % number for number in range(7000)), b"431"),
        (HEAD.replace(b"/score", b"/score?" + b"x" * 60_000) + b"x-large: " + b"x" * 10_000 + b"\r\n", b"431"),
    ],
)
def test_a_large_head_is_refused_even_if_it_comes_in_one_piece(head: bytes, status: bytes) -> None:
    async def play() -> None:
        async with stage() as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            answer = await it.raw(head + END)
            assert answer.split()[1] == status
            assert len(echo.seen) == (status == b"200")

    asyncio.run(play())


def test_a_body_that_comes_byte_by_byte_is_not_waited_for_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.gateway.bounds.BODY_SECONDS", 0.2)

    async def play() -> None:
        async with stage() as it:
            echo = Echo()
            await it.instance("blue", echo)
            it.open({"blue": 100})
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(HEAD + b"content-length: 1000\r\n\r\n")
            answer = asyncio.create_task(reader.read())
            sent = 0
            while not answer.done() and sent < 900:
                with contextlib.suppress(ConnectionError):
                    writer.write(b"x")
                    await writer.drain()
                sent += 1
                await asyncio.sleep(0.01)
            assert answer.done()
            assert answer.result().startswith(b"HTTP/1.1 408")
            assert b"connection: close" in answer.result()
            assert not echo.seen
            writer.close()

    asyncio.run(play())


def test_who_sends_a_lot_may_take_longer() -> None:
    check_pace(1, BODY_SECONDS)
    check_pace(BODY_RATE * 100, BODY_SECONDS + 100)
    with pytest.raises(Refusal, match="too slowly"):
        check_pace(BODY_RATE * 100, BODY_SECONDS + 101)
