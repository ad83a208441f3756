"""Calls that user code makes with the openai SDK become spans."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from promptflow.tracing import injectors
from promptflow.tracing.spans import Span, capture, span
from tests.fake_model import ModelServer, Reply

openai = pytest.importorskip("openai")

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text}}], "usage": None} for text in ("a", "b")
] + [{"choices": [], "usage": USAGE}]


def sse(chunks: list[dict[str, Any]]) -> bytes:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}
    return "".join(f"data: {json.dumps({**head, **chunk})}\n\n" for chunk in chunks).encode() + b"data: [DONE]\n\n"


@pytest.fixture(autouse=True)
def injected() -> Iterator[None]:
    injectors.inject()
    yield
    injectors.recover()


@pytest.fixture
def client(model_server: ModelServer) -> Iterator[Any]:
    with openai.OpenAI(api_key="hidden", base_url=model_server.base_url, max_retries=0) as made:
        yield made


def test_a_chat_call(client: Any) -> None:
    with capture() as spans, span("root") as root:
        client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], extra_headers={"x-secret": "hidden"}
        )
    call = spans[0]
    assert (call.name, call.kind, call.parent_id) == ("openai_chat", "LLM", root.span_id)
    assert call.attributes["inputs"] == '{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    assert call.attributes["function"].endswith("Completions.create")
    assert "hidden" not in str(call.attributes)
    assert call.attributes["llm.usage.total_tokens"] == root.attributes["__computed__.cumulative_token_count.total"] > 0
    assert call.attributes["llm.response.model"]
    assert "promptflow.llm.generated_message" in [event["name"] for event in call.events]


def check_stream(call: Span) -> None:
    assert call.attributes["llm.generated_message"] == '{"role":"assistant","content":"ab"}'
    assert (call.tokens, call.attributes["output_type"]) == ({"prompt": 5, "completion": 2, "total": 7}, "iterated")


def test_a_stream_stays_what_it_is(client: Any, model_server: ModelServer) -> None:
    model_server.script(Reply(body=sse(CHUNKS), headers={"Content-Type": "text/event-stream"}))
    with capture() as spans:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        assert isinstance(stream, openai.Stream) and spans == []
        assert len(list(stream)) == 3
    check_stream(spans[0])


def test_async_calls(model_server: ModelServer) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=model_server.base_url) as client:
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
            model_server.script(Reply(body=sse(CHUNKS), headers={"Content-Type": "text/event-stream"}))
            async for _ in await client.chat.completions.create(model="m", messages=[], stream=True):
                pass

    with capture() as spans:
        asyncio.run(ask())
    assert [s.name for s in spans] == ["openai_chat_async"] * 2
    check_stream(spans[1])


def test_embeddings_leave_sizes_and_not_vectors(client: Any) -> None:
    with capture() as spans:
        client.embeddings.create(model="e", input=["one"], encoding_format="float")
    (call,) = spans
    assert call.kind == "Embedding" and "dimensional vector" in call.attributes["embedding.embeddings"]
    assert '"one"' in call.attributes["embedding.embeddings"]
    assert "0." not in call.attributes["output"]


def test_an_error_is_on_the_span(client: Any, model_server: ModelServer) -> None:
    model_server.script(Reply.error(401, "bad key"))
    with capture() as spans, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="m", messages=[])
    assert spans[0].status == "Error"


def test_injecting_again_changes_nothing_and_recovering_undoes_it() -> None:
    from openai.resources.chat.completions import Completions

    once = Completions.create
    injectors.inject()
    assert Completions.create is once
    injectors.recover()
    assert Completions.create is not once and not hasattr(Completions.create, "_original")
    injectors.inject()


def test_the_source_of_a_patched_module_is_still_found() -> None:
    from openai.resources import completions

    assert "class Completions" in inspect.getsource(completions)


LAZY = """
import sys
from promptflow.tracing.injectors import inject
inject()
assert "openai" not in sys.modules
from openai.resources.chat.completions import Completions
assert hasattr(Completions.create, "_original")
"""


def test_the_sdk_is_patched_when_it_is_imported_and_not_before() -> None:
    subprocess.run([sys.executable, "-c", LAZY], check=True, timeout=60)
