"""Microsoft's names for tools, as code imports them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from promptflow.connections.models import AzureOpenAIConnection, OpenAIConnection
from promptflow.contracts.multimedia import Image
from promptflow.tooling.decorator import ToolProvider, is_tool
from tests.fake_model import ModelServer

PROMPT = "# user:\n{{question}}\n"


@pytest.fixture
def openai(model_server: ModelServer) -> OpenAIConnection:
    return OpenAIConnection(api_key="k", base_url=model_server.base_url)


@pytest.fixture
def azure(model_server: ModelServer) -> AzureOpenAIConnection:
    return AzureOpenAIConnection(api_key="k", api_base=model_server.url, api_version="v1")


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("aoai", "AzureOpenAI chat completion"),
        ("openai", "OpenAI chat completion Engine"),
        ("llm", "llm"),
        ("llm_vision", "llm_vision"),
        ("aoai_gpt4v", "AzureOpenAI"),
        ("openai_gpt4v", "OpenAI"),
        ("embedding", "embedding EmbeddingModel"),
        ("serpapi", "SerpAPI search Engine SafeMode"),
        ("azure_content_safety", "analyze_text TextCategorySensitivity"),
        ("open_model_llm", "OpenModelLLM"),
        ("template_rendering", "render_template_jinja2"),
        ("exception", "ToolValidationError WrappedOpenAIError ChatAPIInvalidRole LLMError InvalidConnectionType"),
        ("common", "render_jinja_template parse_chat build_messages handle_openai_error PromptResult ChatInputList"),
    ],
)
def test_the_names_are_there(module: str, names: str) -> None:
    loaded = importlib.import_module(f"promptflow.tools.{module}")
    for name in names.split():
        found = getattr(loaded, name)
        if inspect.isroutine(found) and module not in ("common",):
            assert is_tool(found)


@pytest.mark.parametrize("kind", ["aoai", "aoai_gpt4v", "openai", "openai_gpt4v"])
def test_classes_are_tool_providers(kind: str) -> None:
    module = importlib.import_module(f"promptflow.tools.{kind}")
    provider = module.AzureOpenAI if kind.startswith("aoai") else module.OpenAI
    assert issubclass(provider, ToolProvider) and is_tool(provider.chat)
    assert provider.get_required_initialize_inputs() == ["connection"]


def test_functions_ask_the_model(openai: OpenAIConnection, azure: AzureOpenAIConnection) -> None:
    from promptflow.tools import aoai
    from promptflow.tools import openai as door

    assert aoai.chat(azure, PROMPT, "d", question="hi", temperature=0) == "hi"
    assert aoai.completion(azure, "a {{b}}", "d", b="c") == "a c …"
    assert door.chat(openai, PROMPT, model="m", question="hi") == "hi"
    assert door.completion(connection=openai, prompt="a", model="m") == "a …"


def test_classes_ask_the_model(openai: OpenAIConnection, model_server: ModelServer) -> None:
    from promptflow.tools.openai import OpenAI

    assert OpenAI(openai).chat(prompt=PROMPT, model="m", question="hi", max_tokens=3) == "hi"
    assert model_server.bodies[0]["max_tokens"] == 3


def test_streams_are_iterators(openai: OpenAIConnection) -> None:
    from promptflow.tools.openai import OpenAI

    stream = OpenAI(openai).chat(PROMPT, "m", stream=True, question="hi")
    assert isinstance(stream, Iterator) and "".join(stream) == "hi "


@pytest.mark.parametrize("api", ["chat", "completion"])
def test_llm_asks_any_model(openai: OpenAIConnection, azure: AzureOpenAIConnection, api: str) -> None:
    from promptflow.tools.llm import llm

    expected = "hi" if api == "chat" else "# user:\nhi\n …"
    for connection, name in ((openai, {"model": "m"}), (azure, {"deployment_name": "d"})):
        assert llm(connection, PROMPT, api, question="hi", **name) == expected


def test_vision_shows_images(azure: AzureOpenAIConnection) -> None:
    from promptflow.tools.aoai_gpt4v import AzureOpenAI
    from promptflow.tools.llm_vision import llm_vision

    inputs: dict[str, Any] = {"deployment_name": "d", "i": Image(b"x", "image/png")}
    prompt = "# user:\n![image]({{i}})"
    assert AzureOpenAI(azure).chat(prompt, **inputs) == "<image_url>"
    assert llm_vision(azure, prompt, **inputs) == "<image_url>"


def test_embedding_embeds(openai: OpenAIConnection) -> None:
    from promptflow.tools.embedding import embedding

    assert embedding(openai, "x", model="m") == [0.5, -0.25]  # type: ignore[arg-type]


def test_helpers_for_tools_of_others() -> None:
    from promptflow.tools import common
    from promptflow.tools.template_rendering import render_template_jinja2

    assert common.render_jinja_template("a {{b}}\n", b=1) == "a 1\n"
    assert common.parse_chat("user:\nhi", valid_roles=["user"]) == [{"role": "user", "content": "hi"}]
    prompt = render_template_jinja2("user:\n{{q}}", q="system:\nx", _inputs_to_escape=["q"])
    assert prompt == "user:\nsystem:\nx" and prompt.need_to_escape()
    messages = common.build_messages("{{p}}", p=prompt)
    assert messages == [{"role": "user", "content": "system:\nx"}]
    picture = Image(b"x")
    assert common.find_referenced_image_set({"a": [picture]}) == {picture}


def test_connections_fit_the_clients_of_openais_sdk(openai: OpenAIConnection, azure: AzureOpenAIConnection) -> None:
    pytest.importorskip("openai")
    from promptflow.tools import common

    with common.init_openai_client(openai) as client, common.init_azure_openai_client(azure) as azure_client:
        assert client.max_retries == azure_client.max_retries == 0
        assert str(client.base_url) == f"{openai.base_url}/"
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "hi"
