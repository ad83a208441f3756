"""Engines that die and clients that hang up, as the real client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from serve.engines.base import EngineFailedError, Piece
from serve.openai.app import OpenAIApp
from serve.router import Budget
from tests.serve.openai.serving import Scripted, app_of, running, said, until

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


def test_an_engine_that_dies_mid_stream_is_told_as_an_event(client: Any, url: str, engine: Scripted) -> None:
    engine.pieces = [Piece("one", 3, 1), Piece(" two", 3, 2), EngineFailedError("The engine died.")]
    heard = []
    with pytest.raises(openai.APIError, match="The engine died"):
        for chunk in client.chat.completions.create(**ASK, stream=True):
            heard.append(chunk.choices[0].delta.content)
    assert heard == ["", "one", " two"]


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
