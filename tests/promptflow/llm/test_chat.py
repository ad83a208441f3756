"""What is sent for which connection, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from promptflow.connections.models import (
    AzureOpenAIConnection,
    OpenAIConnection,
    SerpConnection,
    ServerlessConnection,
)
from promptflow.contracts.multimedia import Image
from promptflow.exceptions import InvalidConnectionType, LLMError, ToolValidationError, WrappedOpenAIError
from promptflow.llm import background
from promptflow.llm.chat import chat, completion, vision
from promptflow.llm.providers import Engine
from promptflow.tracing.spans import capture, span
from tests.fake_model import ModelServer, Reply

PROMPT = "# system:\nBe brief.\n\n# user:\n{{question}}\n"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why?"}]
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


def openai(server: ModelServer) -> OpenAIConnection:
    return OpenAIConnection(api_key="secret", base_url=server.base_url + "/", organization="org")


def azure(server: ModelServer, **more: Any) -> AzureOpenAIConnection:
    return AzureOpenAIConnection(**{"api_key": "secret", "api_base": server.url + "/", "api_version": "v9", **more})


def ask(connection: Any, prompt: str = PROMPT, call: Any = chat, **values: Any) -> Any:
    return background.run(call(connection, prompt, **{"question": "why?", **values}))


def test_openai_gets_model_messages_and_key(model_server: ModelServer) -> None:
    assert ask(openai(model_server), model="m", temperature=0) == "why?"
    (request,) = model_server.requests
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "m", "temperature": 0, "top_p": 1.0, "stream": False, "messages": MESSAGES}
    assert request.headers["authorization"] == "Bearer secret"
    assert request.headers["openai-organization"] == "org"


def test_azure_gets_the_deployment_in_the_path(model_server: ModelServer) -> None:
    assert ask(azure(model_server), deployment_name="my dep") == "why?"
    (request,) = model_server.requests
    assert request.path == "/openai/deployments/my%20dep/chat/completions?api-version=v9"
    assert request.headers["api-key"] == "secret" and "authorization" not in request.headers
    assert request.body["n"] == 1 and request.body["model"] == "my dep"


def test_azure_without_a_deployment_is_an_error(model_server: ModelServer) -> None:
    with pytest.raises(LLMError, match="name of a deployment"):
        ask(azure(model_server), model="m")


def test_azure_takes_a_token_instead_of_a_key(model_server: ModelServer) -> None:
    connection = azure(model_server, auth_mode="meid_token", token_provider=lambda: "entra")
    ask(connection, deployment_name="d")
    assert model_server.requests[0].headers["authorization"] == "Bearer entra"


def test_azures_newer_api_has_no_deployments(model_server: ModelServer) -> None:
    ask(azure(model_server, api_base=f"{model_server.url}/openai/v1/"), deployment_name="d")
    assert model_server.requests[0].path == "/openai/v1/chat/completions"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_serverless_endpoints_speak_openai(model_server: ModelServer, ending: str) -> None:
    ask(ServerlessConnection(api_key="s", api_base=model_server.url + ending), model="m")
    assert model_server.requests[0].path == "/v1/chat/completions"


def test_other_connections_are_refused() -> None:
    with pytest.raises(ToolValidationError, match="SerpConnection") as caught:
        ask(SerpConnection(api_key="x"), model="m")
    assert isinstance(caught.value, InvalidConnectionType)
    assert caught.value.error_codes == ["UserError", "ToolValidationError", "InvalidConnectionType"]


def test_lists_render_line_by_line_on_azure_and_as_python_on_openai(model_server: ModelServer) -> None:
    ask(azure(model_server), deployment_name="d", question=["a", "b"])
    ask(openai(model_server), model="m", question=["a", "b"])
    assert [body["messages"][1]["content"] for body in model_server.bodies] == ["a\nb", "['a', 'b']"]


def test_tools_give_the_message(model_server: ModelServer) -> None:
    message = ask(azure(model_server), deployment_name="d", tools=[TOOL])
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert message["content"] is None and message["refusal"] is None
    assert model_server.bodies[0]["tool_choice"] == "auto"


def test_functions_give_the_message(model_server: ModelServer) -> None:
    assert ask(openai(model_server), model="m", functions=[FUNCTION])["content"] == "why?"
    assert model_server.bodies[0]["function_call"] == "auto"


def test_completion_sends_text(model_server: ModelServer) -> None:
    text = ask(openai(model_server), "Say {{question}}", completion, model=Engine.TEXT_ADA_001, suffix="")
    assert text == "Say why? …"
    assert model_server.bodies[0] == {
        **{"model": "text-ada-001", "prompt": "Say why?", "max_tokens": 16, "temperature": 1.0, "top_p": 1.0},
        **{"n": 1, "stream": False, "echo": False, "best_of": 1, "logit_bias": {}, "user": ""},
    }


def test_images_go_to_models_that_see(model_server: ModelServer) -> None:
    prompt = "# user:\nlook\n![image]({{picture}})\n"
    picture = Image(b"png", "image/png")
    assert ask(openai(model_server), prompt, vision, model="v", picture=picture, detail="low") == "look <image_url>"
    part = model_server.bodies[0]["messages"][0]["content"][1]
    assert part == {"type": "image_url", "image_url": {"url": "data:image/png;base64,cG5n", "detail": "low"}}
    assert "detail" not in model_server.bodies[0] and model_server.bodies[0]["n"] == 1


def test_reasoning_models_get_their_own_limit(model_server: ModelServer) -> None:
    ask(openai(model_server), model="o3-mini", max_tokens=5)
    assert model_server.bodies[0]["max_completion_tokens"] == 5 and "max_tokens" not in model_server.bodies[0]


def test_what_a_deployment_refuses_is_learned(model_server: ModelServer) -> None:
    model_server.script(
        Reply.error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        Reply.error(400, "Unsupported parameter: 'top_p' is not supported with this model."),
    )
    for _ in range(2):
        assert ask(azure(model_server), deployment_name="thinker", max_tokens=5) == "why?"
    limits = [{"max_tokens", "max_completion_tokens", "top_p"} & body.keys() for body in model_server.bodies]
    learned = {"max_completion_tokens"}
    assert limits == [{"max_tokens", "top_p"}, {"max_completion_tokens", "top_p"}, learned, learned]


def test_a_wish_that_a_model_refuses_is_not_dropped(model_server: ModelServer) -> None:
    model_server.script(Reply.error(400, "'temperature' does not support 0 with this model."))
    with pytest.raises(WrappedOpenAIError, match="temperature"):
        ask(openai(model_server), model="m", temperature=0)


def test_an_answer_without_text_is_none(model_server: ModelServer) -> None:
    model_server.script(Reply(body={"choices": [{"message": {"role": "assistant", "content": None}}]}))
    assert ask(openai(model_server), model="m") is None


def test_a_call_is_a_span_with_model_and_tokens(model_server: ModelServer) -> None:
    with capture() as spans, span("above") as above:
        ask(openai(model_server), model="m")
    call = spans[0]
    assert (call.name, call.kind, call.status) == ("openai_chat", "LLM", "Ok")
    assert call.inputs["messages"] == MESSAGES
    assert call.attributes["llm.usage.total_tokens"] == 5
    assert call.attributes["llm.response.model"] == "m"
    assert [event["name"] for event in call.events] == ["promptflow.llm.generated_message"]
    assert above.tokens == {"prompt": 3, "completion": 2, "total": 5}
    assert "secret" not in str(call.attributes)


def test_a_failed_call_is_a_span_with_the_error(model_server: ModelServer) -> None:
    model_server.script(Reply.error(401))
    with capture() as spans, pytest.raises(WrappedOpenAIError):
        ask(openai(model_server), model="m")
    assert spans[0].status == "Error"
