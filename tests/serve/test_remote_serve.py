"""`pf model serve --engine remote`: the models of another server behind a port of ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.cli.main import main
from promptflow.client import PFClient
from promptflow.connections.models import LocalConnection, OpenAIConnection
from promptflow.connections.store import ConnectionStore
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from serve.engines import open_engine
from serve.engines.base import Request
from serve.engines.remote import RemoteEngine
from serve.offers import Offers
from serve.openai.app import OpenAIApp
from serve.openai.keys import Key, Keys
from serve.router import Router, Served
from tests.serve.openai.serving import running
from tests.serve.test_model_serve import served

KEY = "sk-of-the-other-server"


@pytest.fixture
def far(home: Path) -> Iterator[str]:
    """A server with a key, and a connection of its name to it."""
    app = OpenAIApp(Router([Served("fake/echo", lambda: open_engine("fake/echo"))]), Keys([Key.of("k", KEY)]))
    with running(app) as url:
        ConnectionStore(Workspace.open()).create_or_update(OpenAIConnection(KEY, base_url=url, name="far"))
        yield url


def test_a_flow_asks_our_server_which_asks_another(far: str, tmp_path: Path) -> None:
    with served("mine", "--connection", "far", "--option", "name=fake/echo") as (url, process):
        assert KEY not in Path(f"/proc/{process.pid}/cmdline").read_text()
        ConnectionStore(Workspace.open()).create_or_update(OpenAIConnection("none", base_url=url, name="ours"))
        flow = tmp_path / "flow"
        flow.mkdir()
        (flow / "flow.dag.yaml").write_text(
            "inputs: {word: {type: string}}\noutputs: {text: {type: string, reference: '${say.output}'}}\n"
            "nodes:\n- {name: say, type: llm, source: {type: code, path: say.jinja2}, connection: ours, api: chat,\n"
            "   inputs: {model: mine, word: '${inputs.word}'}}\n"
        )
        (flow / "say.jinja2").write_text("# user:\nSay {{word}}.\n")
        assert PFClient().test(flow, inputs={"word": "fox"})["text"] == "Say fox."


def test_adapters_are_names_over_there(far: str) -> None:
    offered = Offers(Workspace.open, "remote", {"connection": "far"}).offer("base", {"formal": "base-formal-v2"})
    engine = offered.make()
    assert isinstance(engine, RemoteEngine) and engine.adapters == ("formal",) and [*offered.adapters] == ["formal"]
    assert [engine._called(name) for name in ("", "formal", "other")] == ["base", "base-formal-v2", "other"]


def test_the_limits_of_a_connection_hold(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two requests, where one per minute is allowed, waits for most of a minute."""
    slow = OpenAIConnection(KEY, base_url=far, name="slow", requests_per_minute=1)
    ConnectionStore(Workspace.open()).create_or_update(slow)
    engine = Offers(Workspace.open, "remote", {"connection": "slow"}).offer("fake/echo").make()
    waits: list[float] = []
    sleep = asyncio.sleep

    async def no_time(seconds: float, *result: Any) -> None:
        waits.append(seconds)
        await sleep(0)

    monkeypatch.setattr("serve.engines.remote_limits.asyncio.sleep", no_time)

    async def twice() -> None:
        for _ in range(2):
            async for _ in engine.generate(Request(prompt="x")):
                pass

    asyncio.run(twice())
    assert [wait for wait in waits if wait > 1] and max(waits) == pytest.approx(60, abs=5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "Where is the server of 'm'"),
        ({"base_url": "http://127.0.0.1:1", "api_key": KEY}, "no option 'api_key'"),
        ({"base_url": "ftp://h"}, "neither http:// nor https://"),
        ({"base_url": "http://127.0.0.1:1", "dialect": "klingon"}, "no dialect 'klingon'"),
        ({"base_url": "http://127.0.0.1:1", "banana": 1}, "no option 'banana'"),
        ({"connection": "local"}, "this machine's own models"),
        ({"connection": "mine"}, "model on this machine"),
        ({"connection": "absent"}, "'absent' is not found"),
    ],
    ids=str,
)
def test_a_server_that_cannot_be_meant(home: Path, options: dict[str, Any], told: str) -> None:
    ConnectionStore(Workspace.open()).create_or_update(LocalConnection("m", "http://127.0.0.1:1/v1", name="mine"))
    with pytest.raises(Exception, match=told) as refused:
        Offers(Workspace.open, "remote", options).offer("m")
    assert isinstance(refused.value, ValidationException) or "absent" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["m", "--engine", "remote", "--option", "base_url=http://127.0.0.1:9"], "cannot be reached"),
        (["m", "--engine", "onnx", "--connection", "far"], "asks no connection"),
        (["--any", "--connection", "far"], "without --any"),
    ],
)
def test_what_cannot_be_served_is_one_line(far: str, capsys: Any, arguments: list[str], told: str) -> None:
    assert main(["model", "serve", *arguments, "--port", "0"]) == 1
    assert told in capsys.readouterr().err


def test_a_connection_without_the_right_key_is_told_at_the_start(far: str, capsys: Any) -> None:
    wrong = OpenAIConnection("sk-this-is-the-wrong-one", base_url=far, name="wrong")
    ConnectionStore(Workspace.open()).create_or_update(wrong)
    assert main(["model", "serve", "fake/echo", "--connection", "wrong", "--port", "0"]) == 1
    err = capsys.readouterr().err
    assert "did not take the key" in err and "sk-this-is" not in err and json.dumps(KEY) not in err
