"""Prompty files called, rendered, counted and run line by line."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptflow.connections.model_config import AzureOpenAIModelConfiguration, OpenAIModelConfiguration
from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection
from promptflow.contracts.multimedia import Image
from promptflow.contracts.run import Status
from promptflow.exceptions import (
    ChatAPIInvalidTools,
    ConnectionNotFoundError,
    InputNotFound,
    InvalidConnectionError,
    InvalidOutputKeyError,
    InvalidSampleError,
    LLMError,
    MissingRequiredInputError,
    RequiredEnvironmentVariablesNotSetError,
    UnknownConnectionType,
    UserErrorException,
    WrappedOpenAIError,
)
from promptflow.executor.prompty import AsyncPrompty, Prompty, PromptyExecutor
from promptflow.tracing.spans import capture
from tests.fake_model import ModelServer, Reply, model_server

__all__ = ["model_server"]

FRONT = """\
name: Answers
model:
  api: chat
  configuration:
    type: openai
    model: m
    connection: mine
  parameters:
    max_tokens: 9
    temperature: 0.2
inputs:
  who: {type: string, default: John}
  question: {type: string}
"""
BODY = "system:\nYou help {{who}}.\n\nuser:\n{{question}}\n"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def connections(model_server: ModelServer) -> Callable[[str], Any]:
    mine = OpenAIConnection(api_key="k", base_url=model_server.base_url)
    azure = AzureOpenAIConnection(api_key="k", api_base=model_server.url, api_version="v1")
    known = {"mine": mine, "azure": azure}

    def find(name: str) -> Any:
        if name not in known:
            raise ConnectionNotFoundError(f"Connection '{name}' is not found.")
        return known[name]

    return find


@pytest.fixture
def load(tmp_path: Path, connections: Callable[[str], Any]) -> Callable[..., Prompty]:
    def load(front: str = FRONT, body: str = BODY, cls: type[Prompty] = Prompty, **options: Any) -> Prompty:
        file = tmp_path / "answers.prompty"
        file.write_text(f"---\n{front}---\n{body}", encoding="utf-8")
        return cls.load(source=file, connections=connections, **options)

    return load


Load = Callable[..., Prompty]


def test_a_call_asks_the_model(load: Load, model_server: ModelServer) -> None:
    assert load()(question="why?") == "why?"
    assert model_server.bodies == [
        {
            "model": "m",
            "max_tokens": 9,
            "temperature": 0.2,
            "messages": [
                {"role": "system", "content": "You help John."},
                {"role": "user", "content": "why?"},
            ],
        }
    ]


def test_missing_inputs_are_listed(load: Load) -> None:
    for use in (load().__call__, load().render, load().estimate_token_count):
        with pytest.raises(MissingRequiredInputError, match=r"Missing required inputs: \['question'\]"):
            use(who="x")


def test_inputs_are_keywords(load: Load) -> None:
    with pytest.raises(UserErrorException, match="Prompty can only be called with keyword arguments."):
        load()("x")
    with pytest.raises(UserErrorException, match="Prompty can only be rendered with keyword arguments."):
        load().render("x")


def test_role_lines_in_inputs_stay_text(load: Load) -> None:
    text = load().render(question="a\n# system:\nb")
    assert text == str(
        [{"role": "system", "content": "You help John."}, {"role": "user", "content": "a\n# system:\nb"}]
    )


def test_the_source_is_a_prompty_file(tmp_path: Path) -> None:
    with pytest.raises(UserErrorException, match="does not exist"):
        Prompty.load(tmp_path / "no.prompty")
    (tmp_path / "x.yaml").write_text("")
    with pytest.raises(UserErrorException, match=".prompty extension"):
        Prompty.load(source=tmp_path / "x.yaml")


# -- overrides and references ---------------------------------------------------------------------------------------
def test_the_model_is_overridden_key_by_key(load: Load) -> None:
    prompty = load(model={"configuration": {"model": "other"}, "parameters": {"max_tokens": 5, "seed": 1}})
    assert prompty._model.configuration == {"type": "openai", "model": "other", "connection": "mine"}
    assert prompty._model.parameters == {"max_tokens": 5, "temperature": 0.2, "seed": 1}
    assert prompty._data["model"]["parameters"]["seed"] == 1


@pytest.mark.parametrize(
    "configuration",
    [
        OpenAIModelConfiguration(model="m", connection="mine"),
        AzureOpenAIModelConfiguration(azure_deployment="d", connection="azure"),
        {"type": "azure_openai", "azure_deployment": "d", "connection": "azure"},
    ],
)
def test_the_model_is_named_in_several_ways(load: Load, configuration: Any) -> None:
    assert load(model={"configuration": configuration})(question="hi") == "hi"


def test_a_connection_object_is_taken_as_it_is(load: Load, connections: Any) -> None:
    front = FRONT.replace("connection: mine", "connection: none")
    configuration = {"connection": connections("azure"), "azure_deployment": "d"}
    assert load(front, model={"configuration": configuration})(question="hi") == "hi"


def test_the_model_may_be_spelled_out(load: Load, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "from-the-environment")
    front = FRONT.replace("connection: mine", "api_key: ${env:MY_KEY}\n    base_url: " + model_server.base_url)
    assert load(front)(question="hi") == "hi"
    assert model_server.requests[0].headers["authorization"] == "Bearer from-the-environment"


def test_azure_may_be_spelled_out(load: Load, model_server: ModelServer) -> None:
    inline = {"type": "azure_openai", "azure_deployment": "d", "azure_endpoint": model_server.url, "api_key": "k"}
    prompty = load(model={"configuration": {**inline, "model": None, "connection": None}})
    assert prompty(question="hi") == "hi"
    assert model_server.requests[0].path == "/openai/deployments/d/chat/completions?api-version=2024-02-01"


def test_without_any_key_the_environment_is_asked(
    load: Load, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = FRONT.replace("    connection: mine\n", "")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(RequiredEnvironmentVariablesNotSetError):
        load(front)(question="hi")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", model_server.base_url)
    assert load(front)(question="hi") == "hi"


def test_a_variable_that_is_not_set_stays_as_text(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "yes")
    monkeypatch.delenv("UNSET", raising=False)
    prompty = load(model={"parameters": {"a": "${env:SET}", "b": "${env:UNSET}"}})
    assert (prompty._model.parameters["a"], prompty._model.parameters["b"]) == ("yes", "${env:UNSET}")


def test_files_are_referenced_from_the_prompty(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"question": "json"}')
    (tmp_path / "s.yaml").write_text("question: yaml\n")
    (tmp_path / "s.txt").write_text("text")
    assert load(sample="${file:s.json}")._data["sample"] == {"question": "json"}
    assert load(sample="${file:s.yaml}")._data["sample"] == {"question": "yaml"}
    assert load(model={"parameters": {"user": "${file:s.txt}"}})._model.parameters["user"] == "text"
    with pytest.raises(UserErrorException, match="Cannot find the reference file nope.json"):
        load(sample="${file:nope.json}")


@pytest.mark.parametrize(
    ("configuration", "error"),
    [
        ({"api_key": "k"}, InvalidConnectionError),
        ({"type": "cohere", "connection": None, "api_key": "k"}, UnknownConnectionType),
        ({"connection": "nobody"}, ConnectionNotFoundError),
    ],
)
def test_a_model_that_cannot_be_reached_is_a_user_error(load: Load, configuration: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        load(model={"configuration": configuration})(question="x")


# -- samples and images ---------------------------------------------------------------------------------------------
def test_without_inputs_the_sample_counts(load: Load) -> None:
    assert load(sample={"question": "sampled"})() == "sampled"


def test_a_sample_may_be_a_json_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "sample.json").write_text(json.dumps({"question": "from file"}))
    assert load(sample="sample.json")() == "from file"
    assert load(sample=f"file:{tmp_path}/sample.json")() == "from file"
    with pytest.raises(InvalidSampleError, match="Cannot find sample file"):
        load(sample="file:nope.json")()
    with pytest.raises(InvalidSampleError, match="Only dict and json file are supported"):
        load(sample="file:x.jsonl")()


def test_a_sample_declares_the_inputs_where_nothing_else_does(load: Load) -> None:
    front = FRONT[: FRONT.index("inputs:")] + "sample: {question: q, number: 3}\n"
    assert load(front)._get_input_signature() == {"question": {"type": "string"}, "number": {"type": "int"}}


@pytest.mark.parametrize(
    "value", ["data:image/png;path:dot.png", {"data:image/png;path": "dot.png"}, Image(PNG, "image/png")]
)
def test_images_reach_the_model(load: Load, tmp_path: Path, model_server: ModelServer, value: Any) -> None:
    (tmp_path / "dot.png").write_bytes(PNG)
    prompty = load(body="user:\n{{question}}\n![image]({{who}})\n")
    assert prompty(question="what?", who=value) == "what? <image_url>"
    url = model_server.bodies[0]["messages"][0]["content"][1]["image_url"]["url"]
    assert url == Image(PNG, "image/png").to_base64(with_type=True)


# -- what comes back ------------------------------------------------------------------------------------------------
def test_json_comes_back_as_a_dict(load: Load) -> None:
    json_mode = {"parameters": {"response_format": {"type": "json_object"}}}
    assert load(model=json_mode)(question="q") == {"said": "q", "score": 4}
    assert load(model=json_mode, outputs={"score": {"type": "int"}})(question="q") == {"score": 4}
    with pytest.raises(InvalidOutputKeyError, match="Cannot find mood"):
        load(model=json_mode, outputs={"mood": {"type": "string"}})(question="q")


def test_json_that_is_none_is_named(load: Load, model_server: ModelServer) -> None:
    model_server.script(Reply(body={"choices": [{"message": {"content": '{"said": '}, "finish_reason": "length"}]}))
    with pytest.raises(LLMError, match="no JSON"):
        load(model={"parameters": {"response_format": {"type": "json_object"}}})(question="q")


def test_tool_calls_come_back_as_a_message(load: Load, model_server: ModelServer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    message = load(model={"parameters": {"tools": [tool]}})(question="q")
    assert message["tool_calls"][0]["function"]["name"] == "f" and message["content"] is None
    assert model_server.bodies[0]["tool_choice"] == "auto"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"tools": []}, "tools cannot be an empty list"),
        ({"tools": ["bad"]}, "tool 0 'bad' is not a dict"),
        ({"tools": [{"a": 1}]}, "does not have 'type' property"),
    ],
)
def test_tools_are_checked_before_they_are_sent(load: Load, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ChatAPIInvalidTools, match=words):
        load(model={"parameters": parameters})(question="q")


def test_the_whole_answer_is_an_object(load: Load) -> None:
    answer = load(model={"response": "all", "parameters": {"n": 2}})(question="q")
    assert [choice.message.content for choice in answer.choices] == ["q", "q"]
    assert answer.usage.total_tokens == 5 and answer.model_dump()["choices"][1]["index"] == 1


def test_a_stream_is_a_generator_of_text(load: Load) -> None:
    stream = load(model={"parameters": {"stream": True}})(question="a b")
    assert inspect.isgenerator(stream) and list(stream) == ["a ", "b "]


def test_a_stream_of_the_whole_answer_gives_chunks(load: Load) -> None:
    chunks = load(model={"response": "all", "parameters": {"stream": True}})(question="a")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a "


def test_streamed_json_is_joined(load: Load) -> None:
    parameters = {"stream": True, "response_format": {"type": "json_object"}}
    assert load(model={"parameters": parameters})(question="q") == {"said": "q", "score": 4}


def test_completion_prompts_are_text(load: Load, model_server: ModelServer) -> None:
    prompty = load(body="Say {{question}}", model={"api": "completion"})
    assert prompty.render(question="x") == "Say x"
    assert prompty(question="x") == "Say x …"
    stream = load(body="Say {{question}}", model={"api": "completion", "parameters": {"stream": True}})
    assert "".join(stream(question="x")) == "Say x … "


def test_headers_and_timeouts_are_no_fields_of_the_request(load: Load, model_server: ModelServer) -> None:
    extra = {"extra_headers": {"x-tenant": "t"}, "extra_body": {"top_k": 3}, "stop": None}
    load(model={"parameters": extra})(question="q", timeout=30)
    (request,) = model_server.requests
    assert request.headers["x-tenant"] == "t"
    assert request.body.keys() == {"model", "messages", "max_tokens", "temperature", "top_k"}


def test_a_refused_key_is_read_anew_next_time(load: Load, model_server: ModelServer) -> None:
    prompty = load()
    model_server.script(Reply.error(401, "old key"))
    with pytest.raises(WrappedOpenAIError, match="AuthenticationError"):
        prompty(question="q")
    assert prompty._connection is None
    assert prompty(question="q") == "q"


def test_an_async_prompty_is_awaited(load: Load) -> None:
    async def main() -> tuple[str, list[str]]:
        text = await load(cls=AsyncPrompty)(question="hi")
        stream = await load(cls=AsyncPrompty, model={"parameters": {"stream": True}})(question="a b")
        return text, [piece async for piece in stream]

    assert asyncio.run(main()) == ("hi", ["a ", "b "])


def test_a_prompty_may_be_called_inside_async_code(load: Load) -> None:
    async def main() -> str:
        text: str = load()(question="hi")
        return text

    assert asyncio.run(main()) == "hi"


# -- tokens, spans --------------------------------------------------------------------------------------------------
def test_tokens_are_those_of_prompt_and_answer(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tiktoken", None)
    with_limit = load().estimate_token_count(question="1234")
    without = load(model={"parameters": {"max_tokens": None}}).estimate_token_count(question="1234")
    assert with_limit == without + 9


@pytest.mark.parametrize(("limit", "words"), [("many", "needs to be integer"), (1, "less than the minimum")])
def test_limits_that_make_no_sense_are_errors(load: Load, limit: Any, words: str) -> None:
    with pytest.raises(UserErrorException, match=words):
        load(model={"parameters": {"max_tokens": limit}}).estimate_token_count(question="x")


def test_a_call_is_a_span_around_the_models(load: Load) -> None:
    with capture() as spans:
        load()(question="hi")
    call, prompty = spans
    assert (call.kind, prompty.name, prompty.output) == ("LLM", "Answers", "hi")
    assert prompty.attributes["prompt.template"] == BODY
    assert json.loads(prompty.attributes["prompt.variables"]) == {"who": "John", "question": "hi"}
    assert prompty.tokens == {"prompt": 3, "completion": 2, "total": 5}


# -- as a flow ------------------------------------------------------------------------------------------------------
@pytest.fixture
def executor(load: Load) -> PromptyExecutor:
    return PromptyExecutor(load())


def test_a_line_of_a_prompty(executor: PromptyExecutor) -> None:
    result = executor.run_line({"question": "hi", "extra": 1}, index=3, run_id="r")
    assert result.output == "hi" and result.exception is None
    info = result.run_info
    assert (info.status, info.index, info.output, info.run_id) == (Status.Completed, 3, {"output": "hi"}, "r_3")
    assert info.inputs == {"who": "John", "question": "hi"}
    assert info.system_metrics is not None and info.system_metrics["total_tokens"] == 5


def test_a_failed_line_is_a_result(executor: PromptyExecutor, model_server: ModelServer) -> None:
    model_server.script(Reply.error(401, "no"))
    result = executor.run_line({"question": "hi"})
    assert isinstance(result.exception, WrappedOpenAIError)
    assert result.run_info.status is Status.Failed
    assert result.run_info.error is not None and result.run_info.error["code"] == "UserError"


def test_a_line_without_its_input_fails(executor: PromptyExecutor) -> None:
    assert isinstance(executor.run_line({"who": "x"}).exception, InputNotFound)


def test_many_lines_run_on_one_loop(executor: PromptyExecutor) -> None:
    async def main() -> list[Any]:
        results = await asyncio.gather(*[executor.run_line_async({"question": f"q{n}"}, index=n) for n in range(20)])
        return [result.output for result in results]

    assert asyncio.run(main()) == [f"q{n}" for n in range(20)]


def test_streams_are_joined_unless_they_are_wanted(load: Load) -> None:
    executor = PromptyExecutor(load(model={"parameters": {"stream": True}}))
    assert executor.run_line({"question": "a b"}).output == "a b "
    stream = executor.run_line({"question": "a b"}, streaming=True).output
    assert inspect.isgenerator(stream) and list(stream) == ["a ", "b "]


def test_a_prompty_looks_like_a_flow(executor: PromptyExecutor, tmp_path: Path) -> None:
    flow = executor.flow
    assert (flow.name, flow.kind, flow.folder) == ("Answers", "prompty", tmp_path.resolve())
    assert flow.inputs["who"].default == "John" and not flow.inputs["question"].has_default
    assert list(flow.outputs) == ["output"]
    assert executor.prefers_async and not executor.has_aggregation
    with executor.activated():
        assert Path.cwd() == tmp_path.resolve()


def test_an_executor_is_loaded_from_a_file(load: Load, tmp_path: Path, connections: Any) -> None:
    load()
    init = {"model": {"configuration": {"model": "other"}}}
    executor = PromptyExecutor.load(tmp_path / "answers.prompty", connections=connections, init=init)
    assert executor.run_line({"question": "hi"}).output == "hi"
    assert executor.prompty._model._model == "other"


def test_connections_come_from_the_workspace(
    load: Load, tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    value = {"api_key": "k", "base_url": model_server.base_url}
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"mine": {"type": "OpenAIConnection", "value": value, "secret_keys": ["api_key"]}}))
    monkeypatch.setenv("PROMPTFLOW_CONNECTIONS", str(file))
    assert Prompty.load(tmp_path / "answers.prompty")(question="hi") == "hi"
