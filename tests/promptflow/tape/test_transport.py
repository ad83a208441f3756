"""Calls of LLM nodes: recorded, then answered without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.exceptions import ExceedMaxRetryTimes, ReplayMiss, TapeError, WrappedOpenAIError
from promptflow.llm import calls as model
from promptflow.llm import transport
from promptflow.llm.retry import RetryPolicy
from promptflow.tape import record, replay
from promptflow.tracing.spans import run_context, span
from tests.fake_model import ModelServer, Reply
from tests.promptflow.tape.conftest import calls

KEY = "sk-a-key-of-many-letters"


def ask(server: ModelServer, text: str, **more: Any) -> Any:
    connection = OpenAIConnection(KEY, base_url=server.base_url)
    body = {"messages": [{"role": "user", "content": text}], **more}

    async def call() -> Any:
        answer = await model.ask(connection, model.CHAT, "m", body)
        if more.get("stream"):
            return "".join([choice.delta.content or "" async for chunk in answer for choice in chunk.choices])
        return answer.choices[0].message.content

    return asyncio.run(call())


def in_line(number: int, server: ModelServer, text: str, node: str = "ask") -> str:
    with run_context(run="r", line_number=number), span(node, attributes={"node_name": node}):
        return ask(server, text)


def test_a_call_is_answered_from_the_tape(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        assert ask(model_server, "hello") == "hello"
    with replay(tape):
        assert ask(model_server, "hello") == "hello"
    assert len(model_server.requests) == 1
    (call,) = calls(tape)
    assert (call["method"], call["body"]["messages"][0]["content"]) == ("POST", "hello")
    assert KEY not in tape.read_text()


def test_another_host_and_key_ask_the_same(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        ask(model_server, "hello")
    connection = OpenAIConnection("another", base_url="https://elsewhere.example/v1")
    with replay(tape):
        body = {"messages": [{"content": "hello", "role": "user"}]}
        assert asyncio.run(model.ask(connection, model.CHAT, "m", body)).choices[0].message.content == "hello"


def test_a_stream_comes_in_the_same_pieces(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        assert ask(model_server, "one two three", stream=True) == "one two three "
    with replay(tape):
        assert ask(model_server, "one two three", stream=True) == "one two three "
    assert len(model_server.requests) == 1
    assert len(calls(tape)[0]["answer"]["events"]) > 3


def test_a_broken_stream_breaks_again(model_server: ModelServer, tape: Path) -> None:
    model_server.script(
        Reply(body=b'data: {"choices": []}\n\n' * 20, headers={"Content-Type": "text/event-stream"}, cut=50)
    )
    for mode in (record, replay):
        with mode(tape), pytest.raises(WrappedOpenAIError, match="APIConnectionError"):
            ask(model_server, "x", stream=True)
    assert len(model_server.requests) == 1


def test_only_the_last_of_several_tries_is_kept(model_server: ModelServer, tape: Path) -> None:
    model_server.script(*[Reply.error(429, headers={"Retry-After": "0"})] * 2)
    with record(tape):
        assert ask(model_server, "hello") == "hello"
    assert len(model_server.requests) == 3
    assert [call["answer"]["status"] for call in calls(tape)] == [200]


def test_a_failure_is_raised_again(model_server: ModelServer, tape: Path) -> None:
    model_server.script(Reply.error(401, "bad key"))
    errors = []
    for mode in (record, replay):
        with mode(tape), pytest.raises(WrappedOpenAIError) as raised:
            ask(model_server, "hello")
        errors.append((str(raised.value), raised.value.status_code, raised.value.kind))
    assert errors[0] == errors[1] and errors[0][1] == 401
    assert len(model_server.requests) == 1


def test_giving_up_is_raised_again(model_server: ModelServer, tape: Path) -> None:
    model_server.script(*[Reply.error(500)] * 2)
    target = transport.Endpoint(f"{model_server.url}/v1/x", {})
    policy = RetryPolicy(retries=1, first_wait=0)
    for mode in (record, replay):
        with mode(tape), pytest.raises(ExceedMaxRetryTimes, match="500"):
            asyncio.run(transport.post(target, {}, retries=policy))
    assert len(model_server.requests) == 2


def test_the_same_request_gets_its_answers_in_order(model_server: ModelServer, tape: Path) -> None:
    def reply(text: str) -> Reply:
        return Reply(body={"choices": [{"message": {"role": "assistant", "content": text}}]})

    model_server.script(reply("a"), reply("b"))
    with record(tape):
        assert [ask(model_server, "x") for _ in range(2)] == ["a", "b"]
    with replay(tape):
        assert [ask(model_server, "x") for _ in range(2)] == ["a", "b"]


def test_each_line_gets_its_own_answers(model_server: ModelServer, tape: Path) -> None:
    def reply(text: str) -> Reply:
        return Reply(body={"choices": [{"message": {"role": "assistant", "content": text}}]})

    model_server.script(reply("of 0"), reply("of 1, ask"), reply("of 1, check"))
    with record(tape):
        in_line(0, model_server, "x")
        in_line(1, model_server, "x", "ask")
        in_line(1, model_server, "x", "check")
    with replay(tape):
        assert in_line(1, model_server, "x", "check") == "of 1, check"
        assert in_line(1, model_server, "x", "ask") == "of 1, ask"
        assert in_line(0, model_server, "x") == "of 0"
        assert in_line(7, model_server, "x") == "of 0"  # not recorded: another line's answer to the same
        assert ask(model_server, "x") == "of 0"


def test_a_miss_names_line_node_and_the_nearest(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        for question in ("Who was Bach?", "How high is the Matterhorn?"):
            in_line(1, model_server, question)
        in_line(2, model_server, "How high is the Eigen?")
    with pytest.raises(ReplayMiss) as raised, replay(tape):
        in_line(1, model_server, "How high is the Eiger?")
    miss = raised.value
    assert "POST /v1/chat/completions of node 'ask' in line 1" in miss.message
    assert miss.location == "node 'ask' in line 1"
    assert "(node 'ask' in line 1) differs in body.messages[0].content" in miss.hint
    assert "recorded 'How high is the Matterhorn?', now 'How high is the Eiger?'" in miss.hint
    assert len(model_server.requests) == 3


def test_asking_more_often_than_recorded_is_a_miss(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        in_line(0, model_server, "x")
    with pytest.raises(ReplayMiss, match="recorded once, and is made once more"), replay(tape):
        in_line(0, model_server, "x")
        in_line(0, model_server, "x")


def test_a_miss_that_the_flow_catches_is_raised_at_the_end(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        ask(model_server, "x")
    with pytest.raises(ReplayMiss), replay(tape) as player:
        with pytest.raises(ReplayMiss):
            ask(model_server, "y")
        assert len(player.misses) == 1


def test_azure_paths_and_versions_count(model_server: ModelServer, tape: Path) -> None:
    connection = AzureOpenAIConnection(model_server.url, KEY, api_version="2024-02-01")
    body = {"messages": [{"role": "user", "content": "hi"}]}
    with record(tape):
        asyncio.run(model.ask(connection, model.CHAT, "deployed", body))
    with replay(tape):
        asyncio.run(model.ask(connection, model.CHAT, "deployed", body))
    assert "/openai/deployments/deployed/chat/completions?api-version=2024-02-01" in calls(tape)[0]["url"]


def test_a_torn_end_is_passed_over_and_a_damaged_middle_is_not(model_server: ModelServer, tape: Path) -> None:
    with record(tape):
        ask(model_server, "x")
        ask(model_server, "y")
    whole = tape.read_bytes()
    for size in range(whole.rindex(b'{"by"') + 1, len(whole) - 1):
        tape.write_bytes(whole[:size])
        with replay(tape) as player:
            assert ask(model_server, "x") == "x"
            assert player.misses == []
    tape.write_bytes(whole.replace(b"{", b"[", 1))
    with pytest.raises(TapeError), replay(tape):
        pass
    tape.write_bytes(whole.replace(b'"answer"', b"answer", 1))
    with pytest.raises(TapeError, match="damaged") as raised, replay(tape):
        pass
    assert raised.value.location == f"{tape}:2"
