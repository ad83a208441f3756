"""Servers that ask to be left alone for a while."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from promptflow.exceptions import WrappedOpenAIError
from promptflow.llm import background, pauses, pressure, transport
from promptflow.llm.endpoints import Endpoint
from promptflow.llm.retry import RetryPolicy
from tests.fake_model import ModelServer, Reply


@pytest.fixture(autouse=True)
def none_from_before() -> Iterator[None]:
    pauses.pauses.clear()
    yield
    pauses.pauses.clear()


class Closed(deque[Reply]):
    """Refuses everything until a while after the first request; ``times`` is when requests came."""

    def __init__(self, seconds: float, headers: dict[str, str]) -> None:
        super().__init__()
        self.seconds, self.headers = seconds, headers
        self.times: list[float] = []

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> Reply:
        self.times.append(time.monotonic())
        is_open = self.times[-1] - self.times[0] >= self.seconds
        return Reply() if is_open else Reply.error(429, "slow down", headers=self.headers)


def ask(server: ModelServer, count: int) -> None:
    target = Endpoint(f"{server.base_url}/chat/completions", {}, "key-of-this-one")

    async def all_of_them() -> None:
        await asyncio.gather(*[transport.post(target, {"messages": []}) for _ in range(count)])

    background.run(all_of_them())


@pytest.mark.parametrize("headers", [{"Retry-After": "0.4"}, {"retry-after-ms": "400", "Retry-After": "60"}])
def test_nobody_comes_back_before_the_time(model_server: ModelServer, headers: dict[str, str]) -> None:
    server = model_server.replies = Closed(0.35, headers)
    ask(model_server, 30)
    assert len(server.times) == 60  # each refused once, and then never again
    assert not [at for at in sorted(server.times)[30:] if at - server.times[0] < 0.35]


def test_the_time_may_be_a_date(model_server: ModelServer) -> None:
    until = datetime.now(UTC) + timedelta(seconds=2)
    headers = {"Retry-After": format_datetime(until, usegmt=True)}
    server = model_server.replies = Closed(until.replace(microsecond=0).timestamp() - time.time() - 0.05, headers)
    ask(model_server, 3)
    assert len(server.times) == 6


def test_requests_that_were_not_refused_wait_too(model_server: ModelServer) -> None:
    async def one_and_then_others() -> None:
        target = Endpoint(f"{model_server.base_url}/chat/completions", {}, "k")
        first = asyncio.ensure_future(transport.post(target, {}))
        while not pauses.pauses:
            await asyncio.sleep(0.001)
        await asyncio.gather(first, *[transport.post(target, {}) for _ in range(5)])

    server = model_server.replies = Closed(0.25, {"Retry-After": "0.3"})
    background.run(one_and_then_others())
    assert len(server.times) == 7


def test_one_goes_first_and_then_twice_as_many() -> None:
    pause = pauses._Pause(100.0, 20)
    turns = [pause.turn() - 100 for _ in range(16)]
    assert turns == [0] + [0.25] * 2 + [0.5] * 4 + [0.75] * 8 + [1.0]


def test_a_short_pause_is_soon_over() -> None:
    pause = pauses._Pause(100.0, 0.08)
    assert [round(pause.turn() - 100, 3) for _ in range(4)] == [0, 0.01, 0.01, 0.02]
    assert not pause.is_over(100.07) and pause.is_over(100.09)


def test_a_pause_that_is_over_is_forgotten() -> None:
    pauses.pauses["there"] = pauses._Pause(time.monotonic() - 10, 1)
    background.run(pauses.turn("there"))
    assert not pauses.pauses


def test_a_shorter_pause_changes_nothing() -> None:
    pauses.pause("there", 60)
    longer = pauses.pauses["there"]
    pauses.pause("there", 1)
    assert pauses.pauses["there"] is longer


def test_a_wait_that_nobody_waits_is_named(model_server: ModelServer) -> None:
    model_server.script(Reply.error(429, "tomorrow", headers={"Retry-After": "86400"}))
    with pytest.raises(
        WrappedOpenAIError, match=r"tomorrow The server asks to wait 86,400 s \(Retry-After\)"
    ) as caught:
        ask(model_server, 1)
    assert "longer than the 600 s that are waited at most" in str(caught.value)
    assert not pauses.pauses


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply.error(429, headers={"Retry-After": "0.01"}), [0.01]),
        (Reply.error(503), [None]),
        (Reply.error(500), []),
        (Reply(drop=True), []),
        (Reply.error(400), []),
        (Reply.error(429, type="insufficient_quota"), []),
    ],
)
def test_who_watches_hears_of_servers_with_too_much_to_do(
    model_server: ModelServer, reply: Reply, told: list[float | None]
) -> None:
    heard: list[float | None] = []
    model_server.script(reply)
    target = Endpoint(f"{model_server.base_url}/chat/completions", {}, "k")
    with pressure.watching(lambda seconds, refused: heard.append(seconds)):
        try:
            background.run(transport.post(target, {}, retries=RetryPolicy(first_wait=0.01, most_wait=0.02)))
        except WrappedOpenAIError:
            pass
    assert heard == told
    assert pressure._watchers == []


def test_a_server_that_answered_before_and_is_away_is_asked_again() -> None:
    first = ModelServer()
    target = Endpoint(f"{first.base_url}/chat/completions", {}, "k")
    quick = RetryPolicy(retries=2, first_wait=0.01, most_wait=0.02)
    first.script(Reply(headers={"Connection": "close"}))
    background.run(transport.post(target, {}))
    first.close()
    with pytest.raises(WrappedOpenAIError, match="Exceed max retry times"):
        background.run(transport.post(target, {}, retries=quick))
