"""Batches against a model that has too much to do, goes away or answers garbage, over real HTTP."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.batch import engine
from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.executor.loader import Executor, load_executor
from promptflow.llm import pauses
from promptflow.llm.pressure import watching
from tests.fake_model import ModelServer, Reply, model_server
from tests.promptflow import flowkit
from tests.promptflow.batch.test_engine import Results, rows

__all__ = ["model_server"]

YAML = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${node.output}"}
nodes:
- name: node
  type: llm
  source: {type: code, path: ask.jinja2}
  connection: busy
  api: chat
  inputs: {model: m, x: "${inputs.x}"}
"""


class Busy(deque[Reply]):
    """Refuses more than ``few`` requests in 0.1 s; what it does not refuse takes 0.02 s."""

    def __init__(self, few: int) -> None:
        super().__init__()
        self.few = few
        self.times: deque[float] = deque()
        self.refused = 0

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> Reply:
        now = time.monotonic()
        while self.times and self.times[0] < now - 0.1:
            self.times.popleft()
        if len(self.times) >= self.few:
            self.refused += 1
            return Reply.error(429, "slow down", headers={"Retry-After": "0.1"})
        self.times.append(now)
        return Reply(delay=0.02)


@pytest.fixture(autouse=True)
def no_pauses_from_before() -> Iterator[None]:
    pauses.pauses.clear()
    yield
    pauses.pauses.clear()


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for it before ``executor``: connections are looked up when a flow is loaded."""
    monkeypatch.setenv("BUSY_REQUESTS_PER_MINUTE", "600")  # 10 a second


@pytest.fixture
def executor(tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Executor:
    monkeypatch.setenv("BUSY_API_KEY", "k")
    monkeypatch.setenv("BUSY_BASE_URL", model_server.base_url)
    return load_executor(flowkit.dag(tmp_path / "flow", YAML, ask_jinja2="user:\n{{x}}\n"))


def run(executor: Executor, count: int, **options: Any) -> Results:
    results = Results()
    assert run_lines(executor, rows(*map(str, range(count))), results, run_id="r", options=RunOptions(**options))
    return results


@pytest.mark.parametrize("workers", [0, 2])
def test_every_line_ends_well_and_fewer_run_at_once(
    executor: Executor, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    limits: list[engine.AdaptiveLimit] = []

    class Seen(engine.AdaptiveLimit):
        fallen = False

        def throttled(self, retry_after: float | None = None) -> None:
            before = self.limit
            super().throttled(retry_after)
            self.fallen = self.fallen or self.limit < before
            limits.append(self)

    monkeypatch.setattr(engine, "AdaptiveLimit", Seen)
    busy = model_server.replies = Busy(few=10)
    refusals: list[bool] = []
    with watching(lambda seconds, refused: refusals.append(refused)):
        results = run(executor, 100, workers=workers)
    assert {n: r.output.get("o") for n, r in results.items()} == {n: str(n) for n in range(100)}
    assert limits and limits[0].fallen
    assert len(model_server.requests) == 100 + busy.refused
    assert refusals == [True] * busy.refused


def test_a_number_that_was_given_stays(executor: Executor, model_server: ModelServer) -> None:
    model_server.replies = Busy(few=10)
    results = run(executor, 40, concurrency=20)
    assert not results.errors() and len(results) == 40


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(body=b"<html>"), "no JSON object"),
        (Reply(body={}), "without a text"),
        (Reply.error(400, "no"), "400 - no"),
    ],
)
def test_garbage_fails_its_line_only(executor: Executor, model_server: ModelServer, reply: Reply, message: str) -> None:
    model_server.script(*[Reply()] * 3, reply, *[Reply(drop=True)] * 2)
    results = run(executor, 20)
    assert len(results) == 20
    (error,) = results.errors().values()
    assert message in error


def test_a_model_that_is_down_fails_every_line_at_once(executor: Executor, model_server: ModelServer) -> None:
    model_server.close()
    results = run(executor, 50)
    assert len(results.errors()) == 50
    assert "Connection error" in results.errors()[0]


def test_limits_of_a_connection_hold_in_workers(limited: None, executor: Executor, model_server: ModelServer) -> None:
    started = time.monotonic()
    results = run(executor, 15, workers=2)
    assert not results.errors()
    assert time.monotonic() - started >= 1


SYNC = """
from promptflow.connections import OpenAIConnection
from promptflow.core import tool
from promptflow.tools.openai import chat

@tool
def node(x: str, url: str = {url!r}):
    connection = OpenAIConnection("k", base_url=url, requests_per_minute=600, name="sync")
    return chat(connection, "user:\\n" + x, model="m")
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["llm", "python"])
def test_waiting_for_a_limit_does_not_count_for_the_timeout_of_a_line(
    limited: None, executor: Executor, model_server: ModelServer, executor_of: Any, kind: str, workers: int
) -> None:
    if kind == "python":
        executor = load_executor(executor_of(SYNC.format(url=model_server.base_url)).flow.folder)
    results = run(executor, 25, concurrency=25, workers=workers, line_timeout=1.5)  # the last ones wait two seconds
    assert not results.errors() and len(results) == 25


WAITING = """
import time
from promptflow.llm import pressure

@tool
def node(x: str):
    pressure.give_time(60)
    time.sleep(3.2)
    return x
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_nor_does_it_in_a_process_of_the_node(executor_of: Any, workers: int) -> None:
    file = Path(executor_of(WAITING).flow.folder) / "flow.dag.yaml"
    file.write_text(file.read_text().replace("type: python", "type: python\n  isolation: process"))
    assert not run(load_executor(file.parent), 1, workers=workers, line_timeout=3.0).errors()
