"""What servers do wrong, over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from typing import Any

import pytest

from promptflow.exceptions import ExceedMaxRetryTimes, WrappedOpenAIError
from promptflow.llm import background, transport
from promptflow.llm.endpoints import Endpoint
from promptflow.llm.pool import session
from promptflow.llm.retry import RetryPolicy
from tests.fake_model import ModelServer, Reply

KEY = "sk-very-secret-123"
QUICK = RetryPolicy(retries=3, first_wait=0.01, most_wait=0.02)
SOON = {"Retry-After": "0.01"}


def target(server: ModelServer) -> Endpoint:
    return Endpoint(f"{server.base_url}/chat/completions", {"Authorization": f"Bearer {KEY}"}, KEY)


def post(server: ModelServer, body: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return background.run(transport.post(target(server), body or {"messages": []}, **{"retries": QUICK, **options}))


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(429, headers=SOON),
        Reply.error(503, headers=SOON),
        Reply.error(500),
        Reply.error(422),
        Reply(drop=True),
        Reply(cut=20),
    ],
)
def test_what_may_pass_is_asked_again(model_server: ModelServer, reply: Reply) -> None:
    model_server.script(reply, reply)
    assert post(model_server)["object"] == "chat.completion"
    assert len(model_server.requests) == 3


@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequest"), (401, "Authentication"), (404, "NotFound")])
def test_what_will_not_pass_is_an_error_at_once(model_server: ModelServer, status: int, kind: str) -> None:
    model_server.script(Reply.error(status, "this is wrong"))
    with pytest.raises(WrappedOpenAIError, match=f"{kind}Error: Error code: {status} - this is wrong") as caught:
        post(model_server)
    assert caught.value.status_code == status
    assert len(model_server.requests) == 1


def test_a_server_that_stays_busy_is_given_up(model_server: ModelServer) -> None:
    model_server.script(*[Reply.error(429, "slow down", headers=SOON)] * 4)
    with pytest.raises(ExceedMaxRetryTimes, match="Exceed max retry times.*RateLimitError.*slow down"):
        post(model_server)
    assert len(model_server.requests) == 4


def test_what_cannot_be_processed_is_tried_three_times(model_server: ModelServer) -> None:
    model_server.script(*[Reply.error(422)] * 4)
    with pytest.raises(ExceedMaxRetryTimes):
        post(model_server, retries=RetryPolicy(first_wait=0.01, most_wait=0.01))
    assert len(model_server.requests) == 3


def test_a_used_up_quota_is_an_error_at_once(model_server: ModelServer) -> None:
    model_server.script(Reply.error(429, "quota", type="insufficient_quota"))
    with pytest.raises(WrappedOpenAIError, match="quota"):
        post(model_server)
    assert len(model_server.requests) == 1


def test_retries_are_logged(model_server: ModelServer, caplog: pytest.LogCaptureFixture) -> None:
    model_server.script(Reply.error(429, "busy", headers=SOON))
    with caplog.at_level(logging.WARNING):
        post(model_server)
    assert "RateLimitError: Error code: 429 - busy Try 1 of 3 in 0.0 s." in caplog.text


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b'"text"', b"[1]", b'{"a": '])
def test_garbage_is_named_as_such(model_server: ModelServer, body: bytes) -> None:
    model_server.script(Reply(body=body))
    with pytest.raises(WrappedOpenAIError, match="no JSON object"):
        post(model_server)


def test_a_key_that_the_server_repeats_is_not_shown(
    model_server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    model_server.script(Reply.error(500, f"bad key {KEY}"), Reply.error(401, f"bad key {KEY}"))
    with pytest.raises(WrappedOpenAIError) as caught:
        post(model_server)
    assert "bad key ******" in str(caught.value)
    assert KEY not in caplog.text + repr(caught.value) + repr(target(model_server))


def test_only_the_start_of_a_long_error_is_kept(model_server: ModelServer) -> None:
    model_server.script(Reply(status=400, body=b"x" * 5_000_000))
    with pytest.raises(WrappedOpenAIError) as caught:
        post(model_server)
    assert len(str(caught.value)) < 3000


def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/v1/x"
    with pytest.raises(WrappedOpenAIError, match="APIConnectionError: Connection error"):
        background.run(transport.post(Endpoint(url, {}), {}))


def test_an_address_that_is_none_is_an_error_at_once() -> None:
    with pytest.raises(WrappedOpenAIError, match="Connection error"):
        background.run(transport.post(Endpoint("nonsense", {}), {}))


def test_a_redirect_does_not_carry_the_key_away(model_server: ModelServer) -> None:
    model_server.script(Reply(status=307, body={}, headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    with pytest.raises(WrappedOpenAIError, match="sends on to http://127.0.0.1:1/elsewhere"):
        post(model_server)


def test_a_slow_server_runs_into_the_timeout(model_server: ModelServer) -> None:
    model_server.script(Reply(delay=0.5), Reply(delay=0.5))
    with pytest.raises(ExceedMaxRetryTimes, match="Request timed out"):
        post(model_server, timeout=0.05, retries=RetryPolicy(retries=1, first_wait=0.01))


def test_odd_values_are_sent_as_json(model_server: ModelServer) -> None:
    body = {"big": 10**30, "half": "\ud800", 1: "one"}
    post(model_server, body)  # type: ignore[arg-type]
    assert model_server.bodies == [{"big": 10**30, "half": "\ud800", "1": "one"}]


def test_requests_at_once_have_a_connection_each(model_server: ModelServer) -> None:
    async def many() -> int:
        answers = await asyncio.gather(*[transport.post(target(model_server), {"messages": []}) for _ in range(120)])
        return len(answers)

    assert background.run(many()) == 120


def test_every_loop_closes_its_pool(model_server: ModelServer) -> None:
    async def once() -> Any:
        await transport.post(target(model_server), {"messages": []})
        return await session()

    pools = [asyncio.run(once()) for _ in range(3)]
    assert all(pool.closed for pool in pools) and len({id(pool) for pool in pools}) == 3
    gc.collect()  # an unclosed pool would warn here, and warnings are errors


@pytest.mark.parametrize(
    ("how", "words"), [("whole", "Connection error. The answer is no HTTP"), ("stream", "timed out")]
)
def test_chunks_that_cannot_be_read_end_the_call(monkeypatch: pytest.MonkeyPatch, how: str, words: str) -> None:
    monkeypatch.setattr("promptflow.llm.pool.READ_SECONDS", 0.5)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n')
        await writer.drain()
        await asyncio.sleep(0.1)  # the caller waits for more by now
        writer.write(b"zzzz\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def ask() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            place = Endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", {})
            if how == "whole":
                await transport.post(place, {}, retries=RetryPolicy(retries=0))
            else:
                await (await transport.open_stream(place, {})).read()

    with pytest.raises((WrappedOpenAIError, ExceedMaxRetryTimes), match=words):
        asyncio.run(asyncio.wait_for(ask(), 20))


@pytest.mark.parametrize("how", ["whole", "stream"])
def test_a_proxy_is_asked_where_the_environment_names_one(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("http_proxy", model_server.base_url)
    monkeypatch.delenv("no_proxy", raising=False)
    place = Endpoint("http://model.invalid/v1/chat/completions", {})

    async def ask() -> None:
        if how == "whole":
            await transport.post(place, {"messages": []})
        else:
            (await transport.open_stream(place, {"messages": []})).close()

    asyncio.run(ask())
    assert len(model_server.requests) == 1
