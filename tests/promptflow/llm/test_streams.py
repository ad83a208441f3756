"""Streamed answers: read from threads, coroutines and loops of all kinds; cut short; broken off."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from typing import Any

import pytest

from promptflow.connections.models import OpenAIConnection
from promptflow.exceptions import FunctionCallNotSupportedInStreamMode, WrappedOpenAIError
from promptflow.llm import background
from promptflow.llm.calls import CHAT, ask
from promptflow.llm.chat import chat, completion
from promptflow.llm.streams import TextStream
from promptflow.tracing.spans import capture
from tests.fake_model import ModelServer, Reply

PROMPT = "user:\none two three"
WORDS = ["", "one ", "two ", "three ", ""]


def connection(server: ModelServer) -> OpenAIConnection:
    return OpenAIConnection(api_key="k", base_url=server.base_url)


def open_stream(server: ModelServer) -> TextStream:
    return background.run(chat(connection(server), PROMPT, model="m", stream=True))


def test_a_stream_is_read_by_plain_code(model_server: ModelServer) -> None:
    assert list(open_stream(model_server)) == WORDS


def test_a_stream_is_read_by_async_code(model_server: ModelServer) -> None:
    async def read() -> list[str]:
        stream = await chat(connection(model_server), PROMPT, model="m", stream=True)
        return [text async for text in stream]

    assert asyncio.run(read()) == WORDS
    assert background.run(read()) == WORDS


def test_plain_code_on_an_event_loop_may_read_it_too(model_server: ModelServer) -> None:
    async def read() -> list[str]:
        return list(await chat(connection(model_server), PROMPT, model="m", stream=True))

    assert asyncio.run(read()) == WORDS
    assert background.run(read()) == WORDS


def test_a_stream_opened_here_may_be_read_there(model_server: ModelServer) -> None:
    async def opened() -> TextStream:
        stream: TextStream = await chat(connection(model_server), PROMPT, model="m", stream=True)
        return stream

    stream = asyncio.run(opened())  # that loop is closed by now
    read: list[str] = []
    thread = threading.Thread(target=lambda: read.extend(stream))
    thread.start()
    thread.join()
    assert read == WORDS


def test_as_a_generator_it_is_one(model_server: ModelServer) -> None:
    generator = open_stream(model_server).generator()
    assert inspect.isgenerator(generator) and "".join(generator) == "one two three "


def test_completions_stream_too(model_server: ModelServer) -> None:
    stream = background.run(completion(connection(model_server), "say {{x}}", model="m", x="hi", stream=True))
    assert "".join(stream) == "say hi … "


def test_chunks_have_attributes(model_server: ModelServer) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    chunks: Any = background.run(ask(connection(model_server), CHAT, "m", body))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "hi ", None]


def test_an_answer_that_is_cut_is_an_error(model_server: ModelServer) -> None:
    model_server.script(Reply(cut=450))
    stream = open_stream(model_server)
    read: list[str] = []
    with pytest.raises(WrappedOpenAIError, match="APIConnectionError"):
        for text in stream:
            read.append(text)
    assert "three " not in read
    assert list(stream) == []


def test_an_answer_without_an_end_is_an_error(model_server: ModelServer) -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "half"}}]}\n\n'
    model_server.script(Reply(body=chunk))
    with pytest.raises(WrappedOpenAIError, match="in the middle of its answer, after 4 characters"):
        list(open_stream(model_server))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'data: {"error": {"message": "overloaded"}}\n\n', "overloaded"),
        (b"data: {nonsense\n\n", "no JSON object"),
    ],
)
def test_errors_inside_an_answer_are_errors(model_server: ModelServer, data: bytes, words: str) -> None:
    model_server.script(Reply(body=data))
    with pytest.raises(WrappedOpenAIError, match=words):
        list(open_stream(model_server))


def test_opening_is_retried(model_server: ModelServer) -> None:
    model_server.script(Reply.error(429, headers={"Retry-After": "0.01"}))
    assert list(open_stream(model_server)) == WORDS


def test_a_refusal_is_raised_when_it_is_opened(model_server: ModelServer) -> None:
    model_server.script(Reply.error(401, "no"))
    with pytest.raises(WrappedOpenAIError, match="AuthenticationError"):
        open_stream(model_server)


def test_functions_cannot_be_streamed(model_server: ModelServer) -> None:
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    with pytest.raises(FunctionCallNotSupportedInStreamMode):
        background.run(chat(connection(model_server), PROMPT, model="m", stream=True, functions=[function]))


def test_a_stream_may_be_left_early(model_server: ModelServer) -> None:
    stream = open_stream(model_server)
    assert next(stream) == ""
    stream.close()
    assert list(stream) == []


def test_the_span_of_a_stream_ends_with_it(model_server: ModelServer) -> None:
    with capture() as spans:
        stream = open_stream(model_server)
        assert not [s for s in spans if s.end_ns]
        list(stream)
    (call,) = spans
    assert call.kind == "LLM" and call.output == "one two three "


def test_a_program_that_leaves_a_stream_open_ends_quietly(model_server: ModelServer) -> None:
    code = (
        "import sys\n"
        "from promptflow.connections.models import OpenAIConnection\n"
        "from promptflow.llm import background\n"
        "from promptflow.llm.chat import chat\n"
        "connection = OpenAIConnection(api_key='k', base_url=sys.argv[1])\n"
        "stream = background.run(chat(connection, 'user:\\na b c', model='m', stream=True))\n"
        "print(next(stream) + next(stream))\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, model_server.base_url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "a \n", "")
