"""Clients that hang up, engines that die, bodies that are none, and what the metrics say of it all."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from serve.engines.base import EngineFailedError, Piece
from serve.openai import exchange
from serve.openai.app import OpenAIApp
from serve.router import Budget
from tests.serve.openai.serving import Scripted, app_of, running, said

openai = pytest.importorskip("openai")

ASK: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def engine() -> Scripted:
    return Scripted(said("hello"))


@pytest.fixture
def app(engine: Scripted) -> OpenAIApp:
    return app_of(engine)


@pytest.fixture
def url(app: OpenAIApp) -> Iterator[str]:
    with running(app) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0, timeout=20) as one:
        yield one


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def raw(url: str, path: str, body: bytes, method: str = "POST", **headers: str) -> tuple[int, Any, Any]:
    """Status, body and headers of a request made by hand."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path, body, {"content-type": "application/json", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_an_engine_that_dies_mid_stream_is_told_as_an_event(client: Any, url: str, engine: Scripted) -> None:
    engine.pieces = [Piece("one", 3, 1), Piece(" two", 3, 2), EngineFailedError("The engine died.")]
    heard = []
    with pytest.raises(openai.APIError, match="The engine died"):
        for chunk in client.chat.completions.create(**ASK, stream=True):
            heard.append(chunk.choices[0].delta.content)
    assert heard == ["", "one", " two"]
    _, body, _ = raw(url, "/v1/chat/completions", json.dumps({**ASK, "stream": True}).encode())
    last = body.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"


def test_others_go_on_when_one_answer_fails(url: str, engine: Scripted, app: OpenAIApp) -> None:
    """Two of one engine: the one that asks while it is well gets all of its answer."""
    engine.pieces = [Piece("a", 1, 1), 0.2, *said("b")]

    async def ask() -> tuple[str, Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
            good = asyncio.create_task(client.chat.completions.create(**ASK))
            while not engine.inside:
                await asyncio.sleep(0.005)
            engine.pieces = [EngineFailedError("Not this one.")]
            bad = await asyncio.gather(client.chat.completions.create(**ASK), return_exceptions=True)
            return (await good).choices[0].message.content, bad[0]

    text, error = asyncio.run(ask())
    assert text == "ab" and isinstance(error, openai.InternalServerError) and "Not this one" in str(error)


def test_an_answer_that_stops_without_an_end_is_a_failure(client: Any, engine: Scripted) -> None:
    engine.pieces = [Piece("half", 3, 1)]
    with pytest.raises(openai.InternalServerError, match="stopped in the middle"):
        client.chat.completions.create(**ASK)
    with pytest.raises(openai.APIError, match="stopped in the middle"):
        list(client.chat.completions.create(**ASK, stream=True))


def test_an_unforeseen_error_is_a_server_error(client: Any, engine: Scripted, caplog: Any) -> None:
    engine.pieces = [ZeroDivisionError("oh")]
    with pytest.raises(openai.InternalServerError, match="The engine failed: ZeroDivisionError: oh"):
        client.chat.completions.create(**ASK)
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_the_engine(
    client: Any, engine: Scripted, app: OpenAIApp, stream: bool, n: int
) -> None:
    engine.pieces = [Piece("a", 1, 1), 60, *said("b")]
    if stream:
        answer = client.chat.completions.create(**ASK, stream=True, n=n)
        next(iter(answer))
        answer.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ASK, n=n, timeout=0.3)
    until(lambda: engine.closed == n and engine.inside == 0 and app.activity.running == 0)
    assert all(slot.users == 0 for slot in app.service.router.slots.values())
    assert 'status="499"' in app.service.metrics.text()


def test_a_thousand_clients_that_hang_up_leave_nothing_behind(
    client: Any, url: str, engine: Scripted, app: OpenAIApp
) -> None:
    engine.pieces = [Piece("a", 1, 1), 60, *said("b")]
    place = urlsplit(url)
    body = json.dumps({**ASK, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    for number in range(1000):
        with socket.create_connection((str(place.hostname), int(place.port or 0))) as sent:
            # Some leave before their body is there, some before the answer, some in the middle of it.
            sent.sendall(head + (body if number % 3 else body[:10]))
            if number % 3 == 2 and number % 50 == 2:
                sent.recv(64)
    until(lambda: app.activity.running == 0 and engine.inside == 0)
    assert all(slot.users == 0 for slot in app.service.router.slots.values())
    engine.pieces = said("well")
    assert client.chat.completions.create(**ASK).choices[0].message.content == "well"


def test_models_that_take_turns_lose_no_request() -> None:
    """Room for one of three, asked at the same time by clients of which some hang up."""
    engines = [Scripted([Piece("a", 1, 1), 0.001, *said("b")], model=name) for name in ("one", "two", "three")]
    app = app_of(*engines, budget=Budget(models=1))

    async def ask(url: str) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:

            async def once(number: int) -> Any:
                model = engines[number % 3].model
                stream = await client.chat.completions.create(**{**ASK, "model": model}, stream=True)
                text = ""
                async for chunk in stream:
                    text += chunk.choices[0].delta.content or ""
                    if number % 10 == 0:
                        await stream.close()
                        return "left"
                return text

            return await asyncio.gather(*(once(number) for number in range(150)))

    with running(app) as url:
        answers = asyncio.run(asyncio.wait_for(ask(url), 60))
        until(lambda: app.activity.running == 0)
        assert set(answers) == {"left", "ab"} and answers.count("left") == 15
        assert all(slot.users == 0 for slot in app.service.router.slots.values())
        assert len(app.service.router.loaded()) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b'{"messages": NaN}', b"[" * 100000])
def test_bodies_that_are_none(url: str, body: bytes) -> None:
    status, answer, _ = raw(url, "/v1/chat/completions", body)
    assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")


def test_a_body_that_is_too_large_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_BODY", 1000)
    assert raw(url, "/v1/chat/completions", b" " * 1001)[0] == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "/v1/models/%2e%2e%2fetc", 404),
        ("GET", "/health", 200),
        ("GET", "/models", 200),
    ],
)
def test_paths_and_methods(url: str, method: str, path: str, status: int) -> None:
    found, answer, headers = raw(url, path, b"", method)
    assert found == status and headers["content-type"] == "application/json"
    assert ("error" in json.loads(answer)) is (status >= 400)


def test_unknown_fields_are_named_in_a_header_that_nobody_can_break(url: str) -> None:
    fields = {"mood": 1, "a\r\nset-cookie: x": 1, "ünï": 2, "user": "me"}
    status, _, headers = raw(url, "/v1/chat/completions", json.dumps({**ASK, **fields}).encode())
    assert (status, headers["warning"], headers["set-cookie"]) == (200, '299 - "ignored fields: mood, ?, ?"', None)


def test_metrics_count_requests_tokens_and_what_is_loaded(client: Any, url: str) -> None:
    client.chat.completions.create(**ASK)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**ASK, "model": 'no"such\nmodel'})
    status, text, headers = raw(url, "/metrics", b"", "GET")
    lines = text.decode().splitlines()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'pf_requests_total{route="/v1/chat/completions",model="scripted",status="200"} 1' in lines
    assert 'pf_requests_total{route="/v1/chat/completions",model="",status="404"} 1' in lines
    assert 'pf_tokens_total{model="scripted",kind="completion"} 1' in lines
    assert 'pf_engine_requests_running{model="scripted"} 0' in lines
    assert "pf_models_loaded 1" in lines
    assert all(line.startswith("#") or line.rsplit(" ", 1)[1].replace(".", "").isdigit() for line in lines)
