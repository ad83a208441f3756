"""The server asked by hand: odd bodies and paths, clients that hang up, metrics."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from serve.engines.base import EngineFailedError, Piece
from serve.openai import exchange
from serve.openai.app import OpenAIApp
from tests.serve.openai.serving import Scripted, app_of, raw, running, said, until

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


def test_an_error_on_the_way_is_the_last_event(url: str, engine: Scripted) -> None:
    engine.pieces = [Piece("one", 3, 1), EngineFailedError("The engine died.")]
    status, body, _ = raw(url, "/v1/chat/completions", json.dumps({**ASK, "stream": True}).encode())
    last = body.decode().strip().split("\n\n")[-1]
    told = json.loads(last.removeprefix("data: "))["error"]
    assert (status, told["type"], told["message"]) == (200, "server_error", "The engine died.")
    assert b"[DONE]" not in body


def test_a_thousand_clients_that_hang_up_leave_nothing_behind(url: str, engine: Scripted, app: OpenAIApp) -> None:
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
    status, answer, _ = raw(url, "/v1/chat/completions", json.dumps(ASK).encode())
    assert (status, json.loads(answer)["choices"][0]["message"]["content"]) == (200, "well")


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


def test_metrics_count_requests_tokens_and_what_is_loaded(url: str) -> None:
    for model, expected in {"scripted": 200, 'no"such\nmodel': 404}.items():
        assert raw(url, "/v1/chat/completions", json.dumps({**ASK, "model": model}).encode())[0] == expected
    status, text, headers = raw(url, "/metrics", b"", "GET")
    lines = text.decode().splitlines()
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'pf_requests_total{route="/v1/chat/completions",model="scripted",status="200"} 1' in lines
    assert 'pf_requests_total{route="/v1/chat/completions",model="",status="404"} 1' in lines
    assert 'pf_tokens_total{model="scripted",kind="completion"} 1' in lines
    assert 'pf_engine_requests_running{model="scripted"} 0' in lines
    assert "pf_models_loaded 1" in lines
    assert all(line.startswith("#") or line.rsplit(" ", 1)[1].replace(".", "").isdigit() for line in lines)
