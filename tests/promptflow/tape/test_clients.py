"""Calls that a flow's own code makes with HTTP libraries and the openai SDK."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from promptflow.exceptions import ReplayMiss
from promptflow.tape import record, replay
from tests.fake_model import ModelServer, Reply
from tests.promptflow.tape.conftest import calls

httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")
KEY = "sk-a-key-of-many-letters"
BODY = {"model": "m", "messages": [{"role": "user", "content": "grüezi"}]}
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
Answer = tuple[int, Any]
Call = Callable[..., Answer]


def by_httpx(url: str, body: Any = None) -> Answer:
    with httpx.Client() as client:
        answer = client.request("POST" if body else "GET", url, json=body, headers=HEADERS)
    return answer.status_code, answer.json()


def by_httpx_async(url: str, body: Any = None) -> Answer:
    async def call() -> Answer:
        async with httpx.AsyncClient() as client:
            answer = await client.request("POST" if body else "GET", url, json=body, headers=HEADERS)
            return answer.status_code, answer.json()

    return asyncio.run(call())


def by_requests(url: str, body: Any = None) -> Answer:
    answer = requests.request("POST" if body else "GET", url, json=body, headers=HEADERS)
    return answer.status_code, answer.json()


def by_urllib(url: str, body: Any = None) -> Answer:
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, HEADERS)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def by_aiohttp(url: str, body: Any = None) -> Answer:
    async def call() -> Answer:
        async with aiohttp.ClientSession() as session:
            async with session.request("POST" if body else "GET", url, json=body, headers=HEADERS) as answer:
                return answer.status, await answer.json()

    return asyncio.run(call())


LIBRARIES = [by_httpx, by_httpx_async, by_requests, by_urllib, by_aiohttp]


@pytest.mark.parametrize("call", LIBRARIES)
def test_a_call_to_a_model_is_recorded_whoever_makes_it(call: Call, model_server: ModelServer, tape: Path) -> None:
    url = f"{model_server.base_url}/chat/completions"
    with record(tape):
        live = call(url, BODY)
    with replay(tape):
        assert call(url, BODY) == live
    assert len(model_server.requests) == 1
    (kept,) = calls(tape)
    assert kept["body"] == BODY and KEY not in tape.read_text()


@pytest.mark.parametrize("made", LIBRARIES)
@pytest.mark.parametrize("asked", LIBRARIES)
def test_a_tape_is_the_same_for_all_libraries(made: Call, asked: Call, model_server: ModelServer, tape: Path) -> None:
    url = f"{model_server.base_url}/embeddings"
    body = {"model": "e", "input": "x"}
    with record(tape):
        live = made(url, body)
    with replay(tape):
        assert asked(url, body) == live


@pytest.mark.parametrize("call", LIBRARIES)
def test_other_calls_are_recorded_where_declared(call: Call, model_server: ModelServer, tape: Path) -> None:
    url = f"{model_server.url}/weather?city=Bern&api_key=hidden"
    with record(tape):
        call(url)
    assert calls(tape) == []
    with record(tape, http=[f"{model_server.url}/weather*"]):
        live = call(url)
    with replay(tape):
        assert call(url.replace("hidden", "another")) == live
    (kept,) = calls(tape)
    assert kept["url"].endswith("/weather?api_key=******&city=Bern")
    assert "hidden" not in tape.read_text()


@pytest.mark.parametrize("call", LIBRARIES)
def test_errors_of_the_server_come_again(call: Call, model_server: ModelServer, tape: Path) -> None:
    model_server.script(Reply.error(404, "no such model"))
    url = f"{model_server.base_url}/chat/completions"
    with record(tape):
        live = call(url, BODY)
    with replay(tape):
        assert call(url, BODY) == live == (404, {"error": {"message": "no such model"}})


@pytest.mark.parametrize("call", LIBRARIES)
def test_a_lost_connection_is_lost_again(call: Call, model_server: ModelServer, tape: Path) -> None:
    model_server.script(*[Reply(drop=True)] * 2)  # aiohttp and requests may try an idle connection again
    url = f"{model_server.base_url}/completions"
    classes = []
    for mode in (record, replay):
        with mode(tape), pytest.raises(Exception) as raised:
            call(url, {"prompt": "x"})
        assert not isinstance(raised.value, ReplayMiss)
        classes.append(_family(raised.value))
    assert classes[0] == classes[1]


def _family(error: BaseException) -> type:
    families = (httpx.TransportError, requests.ConnectionError, aiohttp.ClientError, OSError)
    return next(family for family in families if isinstance(error, family))


@pytest.mark.parametrize("call", LIBRARIES)
def test_what_is_not_on_the_tape_is_never_sent(call: Call, model_server: ModelServer, tape: Path) -> None:
    url = f"{model_server.base_url}/chat/completions"
    with record(tape):
        call(url, BODY)
    for where in (f"{model_server.url}/other", "http://example.invalid/other", "http://192.0.2.1/"):
        with pytest.raises(ReplayMiss), replay(tape):
            call(where)
    assert len(model_server.requests) == 1


def test_a_stream_of_httpx(model_server: ModelServer, tape: Path) -> None:
    def read() -> list[str]:
        with httpx.Client() as client:
            with client.stream("POST", f"{model_server.base_url}/chat/completions", json={**BODY, "stream": True}) as r:
                return [line for line in r.iter_lines() if line]

    with record(tape):
        live = [json.loads(line[6:]) for line in read()[:-1]]
    with replay(tape):
        assert [json.loads(line[6:]) for line in read()[:-1]] == live
    assert len(calls(tape)[0]["answer"]["events"]) == len(live) + 1


def test_gzipped_answers_are_kept_as_text(model_server: ModelServer, tape: Path) -> None:
    import gzip

    body = gzip.compress(b'{"a": 1}')
    url = f"{model_server.base_url}/completions"
    for call in (by_httpx, by_requests, by_aiohttp):
        model_server.script(Reply(body=body, headers={"Content-Encoding": "gzip"}))
        with record(tape):
            assert call(url, BODY) == (200, {"a": 1})
        with replay(tape):
            assert call(url, BODY) == (200, {"a": 1})
        assert calls(tape)[0]["answer"]["json"] == {"a": 1}


def test_pictures_stay_what_they_are(model_server: ModelServer, tape: Path) -> None:
    picture = bytes(range(256))
    model_server.script(Reply(body=picture, headers={"Content-Type": "image/png"}))
    url = f"{model_server.url}/picture.png"
    with record(tape, http=["*/picture.png"]):
        assert httpx.get(url).content == picture
    with replay(tape):
        assert requests.get(url).content == picture


class TestOpenAI:
    openai = pytest.importorskip("openai")

    def client(self, server: ModelServer, **options: Any) -> Any:
        return self.openai.OpenAI(api_key=KEY, base_url=server.base_url, **{"max_retries": 0, **options})

    def test_chat_and_stream(self, model_server: ModelServer, tape: Path) -> None:
        def ask() -> tuple[str, str]:
            with self.client(model_server) as client:
                whole = client.chat.completions.create(**BODY).choices[0].message.content
                pieces = client.chat.completions.create(**BODY, stream=True)
                return whole, "".join(chunk.choices[0].delta.content or "" for chunk in pieces)

        with record(tape):
            live = ask()
        with replay(tape):
            assert ask() == live == ("grüezi", "grüezi ")
        assert len(model_server.requests) == 2 and KEY not in tape.read_text()

    def test_async(self, model_server: ModelServer, tape: Path) -> None:
        async def ask() -> str:
            async with self.openai.AsyncOpenAI(api_key=KEY, base_url=model_server.base_url) as client:
                pieces = await client.chat.completions.create(**BODY, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in pieces])

        with record(tape):
            live = asyncio.run(ask())
        with replay(tape):
            assert asyncio.run(ask()) == live

    def test_of_several_tries_the_last_counts(self, model_server: ModelServer, tape: Path) -> None:
        def ask() -> str:
            with self.client(model_server, max_retries=2) as client:
                return client.chat.completions.create(**BODY).choices[0].message.content

        model_server.script(Reply.error(429, headers={"Retry-After-Ms": "1"}))
        with record(tape):
            assert ask() == "grüezi"
        assert len(model_server.requests) == 2
        with replay(tape):
            assert ask() == "grüezi"

    def test_a_miss_ends_the_call_at_once(self, model_server: ModelServer, tape: Path) -> None:
        with record(tape), self.client(model_server) as client:
            client.chat.completions.create(**BODY)
        with pytest.raises(ReplayMiss, match="has no answer") as raised, replay(tape) as player:
            with self.client(model_server, max_retries=2) as client:
                client.chat.completions.create(**{**BODY, "model": "other"})
        assert "model: recorded 'm', now 'other'" in raised.value.hint
        assert isinstance(raised.value.__cause__, self.openai.BadRequestError)
        assert len(player.misses) == 1

    def test_our_transport_answers_from_what_the_sdk_recorded(self, model_server: ModelServer, tape: Path) -> None:
        from promptflow.connections import OpenAIConnection
        from promptflow.llm import calls as model

        with record(tape), self.client(model_server) as client:
            client.chat.completions.create(**BODY)
        with replay(tape):
            connection = OpenAIConnection(KEY, base_url=model_server.base_url)
            answer = asyncio.run(model.ask(connection, model.CHAT, "m", {"messages": BODY["messages"]}))
        assert answer.choices[0].message.content == "grüezi"
