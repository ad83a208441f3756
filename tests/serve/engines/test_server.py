"""The engine server as users get it: a process of its own, asked over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KEY = "a-key-for-tests"
ASK = {"messages": [{"role": "user", "content": "What is the intent of this message? I want my money back"}]}


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[bytes]
    port_file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port_file.read_text()}"

    def call(self, path: str, body: Any = None, key: str | None = KEY) -> tuple[int, Any]:
        """Status and body, as JSON where it is."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        return status, text if text.startswith("data:") else json.loads(text)


def start(folder: Path, *arguments: str) -> Running:
    port_file = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-m", "serve.engines.server", "--port-file", str(port_file), *arguments],
        env={**os.environ, "PF_ENGINE_KEY": KEY},
        stderr=subprocess.PIPE,
    )
    while not port_file.exists():
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1].decode())
        time.sleep(0.01)
    return Running(process, port_file)


def stop(running: Running) -> tuple[int, str]:
    running.process.send_signal(signal.SIGTERM)
    errors = running.process.communicate(timeout=30)[1]
    return running.process.returncode, errors.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    running = start(tmp_path_factory.mktemp("server"), "--model", "builtin/intent-mini")
    yield running
    assert stop(running) == (0, "")


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("echo"), "--model", "fake/echo")
    yield running
    assert stop(running) == (0, "")


def chunks(stream: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in stream.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_it_is_ready_when_the_port_file_is_there(server: Running) -> None:
    assert server.call("/health", key=None) == (200, {"status": "ok", "model": "builtin/intent-mini"})


def test_a_chat_is_answered_as_openai_would(server: Running) -> None:
    status, body = server.call("/v1/chat/completions", {"model": "builtin/intent-mini", **ASK})
    choice = body["choices"][0]
    assert (status, body["object"], choice["index"]) == (200, "chat.completion", 0)
    assert choice["message"] == {"role": "assistant", "content": "refund"}
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_a_stream_carries_the_same_answer_and_its_usage(server: Running) -> None:
    asked = {"messages": [{"role": "user", "content": "where is my parcel"}]}
    whole = server.call("/v1/chat/completions", asked)[1]
    _, stream = server.call(
        "/v1/chat/completions", {**asked, "stream": True, "stream_options": {"include_usage": True}}
    )
    *parts, last = chunks(stream)
    deltas = [part["choices"][0]["delta"] for part in parts]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == whole["choices"][0]["message"]["content"]
    assert parts[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"]) == ([], whole["usage"])


def test_a_stream_without_the_option_has_no_usage(server: Running) -> None:
    _, stream = server.call("/v1/chat/completions", {**ASK, "stream": True})
    assert all("usage" not in chunk for chunk in chunks(stream))


def test_several_choices_differ_and_share_the_cost_of_the_prompt(server: Running) -> None:
    asked = {**ASK, "n": 6, "temperature": 2, "seed": 1, "max_tokens": 8}
    body = server.call("/v1/chat/completions", asked)[1]
    single = server.call("/v1/chat/completions", ASK)[1]
    assert [choice["index"] for choice in body["choices"]] == list(range(6))
    assert body["usage"]["prompt_tokens"] == single["usage"]["prompt_tokens"]
    _, stream = server.call("/v1/chat/completions", {**asked, "stream": True})
    said = dict.fromkeys(range(6), "")
    for chunk in chunks(stream):
        choice = chunk["choices"][0]
        said[choice["index"]] += choice["delta"].get("content", "")
    assert list(said.values()) == [choice["message"]["content"] for choice in body["choices"]]


def test_logprobs_come_in_the_shape_of_each_api(server: Running) -> None:
    chat = server.call("/v1/chat/completions", {**ASK, "logprobs": True, "top_logprobs": 2})[1]
    plain = server.call("/v1/completions", {"prompt": "refund", "logprobs": 2, "max_tokens": 2})[1]
    first = chat["choices"][0]["logprobs"]["content"][0]
    assert first["token"] == "refund" and len(first["top_logprobs"]) == 2
    assert len(plain["choices"][0]["logprobs"]["token_logprobs"]) == plain["usage"]["completion_tokens"]


def test_json_mode_gives_an_object(server: Running) -> None:
    body = server.call("/v1/chat/completions", {**ASK, "response_format": {"type": "json_object"}})[1]
    assert isinstance(json.loads(body["choices"][0]["message"]["content"]), dict)


def test_completions_take_several_prompts(echo: Running) -> None:
    body = echo.call("/v1/completions", {"prompt": ["one two", "three"], "max_tokens": 9})[1]
    assert [choice["text"] for choice in body["choices"]] == ["one two", "three"]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


def test_text_parts_are_joined_and_unknown_fields_ignored(echo: Running) -> None:
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    asked = {"messages": [{"role": "user", "content": parts, "mood": 1}], "presence_penalty": 0.5, "user": "me"}
    body = echo.call("/v1/chat/completions", asked)[1]
    assert body["choices"][0]["message"]["content"] == "first\nsecond"


def test_requests_at_the_same_time_get_their_own_answers(echo: Running, server: Running) -> None:
    def one(number: int) -> str:
        asked = {"messages": [{"role": "user", "content": f"say {number}"}]}
        return str(echo.call("/v1/chat/completions", asked)[1]["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(one, range(48))) == [f"say {number}" for number in range(48)]
        asked = [pool.submit(server.call, "/v1/chat/completions", ASK) for _ in range(48)]
        assert {call.result()[1]["choices"][0]["message"]["content"] for call in asked} == {"refund"}


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x"])
def test_without_the_key_there_is_no_answer(echo: Running, key: str | None) -> None:
    status, body = echo.call("/v1/chat/completions", ASK, key=key)
    assert (status, body["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "no role"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ],
)
def test_a_bad_field_is_named(echo: Running, change: dict[str, Any], param: str) -> None:
    status, body = echo.call("/v1/chat/completions", {**ASK, **change})
    assert (status, body["error"]["param"], body["error"]["type"]) == (400, param, "invalid_request_error")


@pytest.mark.parametrize("body", [b"", b"{", b"[1, 2]", b'"text"', b"\xff\xfe"])
def test_a_body_that_is_no_object_is_a_bad_request(echo: Running, body: bytes) -> None:
    status, answer = echo.call("/v1/chat/completions", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_a_bad_request(server: Running, stream: bool) -> None:
    asked = {"messages": [{"role": "user", "content": "word " * 3000}], "stream": stream}
    status, body = server.call("/v1/chat/completions", asked)
    assert (status, body["error"]["code"]) == (400, "context_length_exceeded")


def test_another_model_is_not_found(echo: Running) -> None:
    status, body = echo.call("/v1/chat/completions", {**ASK, "model": "gpt-4o"})
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert echo.call("/v1/models/fake/echo")[1]["id"] == "fake/echo"
    assert echo.call("/v1/nothing")[0] == 404


def test_it_stops_by_itself_when_nobody_asks(tmp_path: Path) -> None:
    running = start(tmp_path, "--model", "fake/echo", "--idle", "0.5")
    running.call("/v1/models")
    errors = running.process.communicate(timeout=30)[1]
    assert (running.process.returncode, errors, running.port_file.exists()) == (0, b"", False)


def test_health_checks_do_not_keep_it_alive(tmp_path: Path) -> None:
    running = start(tmp_path, "--model", "fake/echo", "--idle", "0.5")
    with pytest.raises((OSError, ValueError)):
        for _ in range(1000):
            running.call("/health")
            time.sleep(0.05)
    running.process.communicate(timeout=30)
    assert running.process.returncode == 0


def test_a_stop_by_signal_is_a_normal_end(tmp_path: Path) -> None:
    running = start(tmp_path, "--model", "fake/echo")
    assert stop(running) == (0, "")
    assert not running.port_file.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "builtin/nothing"], "There is no model 'builtin/nothing'"),
        (["--model", "fake/echo", "--host", "203.0.113.1"], "Cannot listen on 203.0.113.1:0"),
    ],
)
def test_a_server_that_cannot_start_says_why(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(AssertionError, match=message) as failed:
        start(tmp_path, *arguments)
    assert "Traceback" not in str(failed.value)
