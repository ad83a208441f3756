"""LangChain: its calls as spans, a flow as a Runnable, a Runnable in a flow."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool as langchain_tool

from promptflow.client import load_flow
from promptflow.exceptions import UserErrorException
from promptflow.integrations.langchain import FlowRunnable, PromptFlowCallbackHandler, as_callable
from promptflow.tracing.spans import Span, capture, span

USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def model(text: str = "well done") -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text, usage_metadata=USAGE)] * 20))


def chain() -> Any:
    return ChatPromptTemplate.from_template("Say {what} to {whom}") | model() | StrOutputParser()


def by_name(spans: list[Span]) -> dict[str, Span]:
    return {s.name: s for s in spans}


def test_every_step_of_a_chain_is_a_span() -> None:
    with capture() as spans, span("root") as root:
        result = chain().invoke(
            {"what": "hi", "whom": "you"}, config={"callbacks": [PromptFlowCallbackHandler()], "run_name": "my chain"}
        )
    assert result == "well done"
    found = by_name(spans)
    assert set(found) == {"root", "my chain", "ChatPromptTemplate", "GenericFakeChatModel", "StrOutputParser"}
    call = found["GenericFakeChatModel"]
    assert (found["my chain"].parent_id, call.parent_id) == (root.span_id, found["my chain"].span_id)
    assert (call.kind, found["my chain"].kind) == ("LLM", "LangChain")
    assert (
        call.attributes["llm.usage.total_tokens"] == root.attributes["__computed__.cumulative_token_count.total"] == 7
    )
    assert "Say hi to you" in call.attributes["inputs"]
    assert call.attributes["llm.generated_message"] == '{"role":"assistant","content":"well done"}'


def test_async_and_parallel_calls_keep_their_parents() -> None:
    handler = PromptFlowCallbackHandler()

    async def both() -> None:
        await chain().abatch([{"what": "a", "whom": "b"}] * 3, config={"callbacks": [handler]})

    with capture() as spans:
        asyncio.run(both())
    roots = [s for s in spans if s.name == "RunnableSequence"]
    assert len(roots) == 3 and {s.parent_id for s in roots} == {""}
    for root in roots:
        assert sum(s.parent_id == root.span_id for s in spans) == 3


def test_batches_in_threads() -> None:
    with capture() as spans, span("root") as root:
        chain().batch([{"what": "a", "whom": "b"}] * 4, config={"callbacks": [PromptFlowCallbackHandler()]})
    assert sum(s.parent_id == root.span_id for s in spans) == 4


def test_an_error_ends_the_spans_it_passes() -> None:
    def fail(value: Any) -> Any:
        raise ValueError("no")

    failing = RunnableLambda(lambda x: x) | RunnableLambda(fail)
    with capture() as spans, pytest.raises(ValueError):
        failing.invoke(1, config={"callbacks": [PromptFlowCallbackHandler()]})
    assert [s.message for s in spans if s.status == "Error"] == ["ValueError: no"] * 2


def test_two_handlers_make_one_span_of_a_run() -> None:
    with capture() as spans:
        RunnableLambda(lambda x: x).invoke(1, config={"callbacks": [PromptFlowCallbackHandler() for _ in range(2)]})
    assert len(spans) == 1


def test_streams_tools_and_retrievers() -> None:
    class Finder(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
            return [Document(f"about {query}", metadata={"score": 0.5})]

    @langchain_tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    config: Any = {"callbacks": [PromptFlowCallbackHandler()]}
    with capture() as spans:
        assert list((model() | StrOutputParser()).stream("x", config=config)) == ["well", " ", "done"]
        assert add.invoke({"a": 1, "b": 2}, config=config) == 3
        Finder().invoke("cats", config=config)
    found = by_name(spans)
    assert found["GenericFakeChatModel"].status == "Ok"
    assert (found["add"].kind, found["add"].output) == ("Tool", 3)
    assert found["Finder"].kind == "Retrieval"
    assert "about cats" in found["Finder"].attributes["retrieval.documents"]


WITHOUT_A_HANDLER = """
from promptflow.tracing import start_trace
start_trace()
from promptflow.tracing.spans import capture
from langchain_core.runnables import RunnableLambda
with capture() as spans:
    (RunnableLambda(lambda x: x + 1) | RunnableLambda(lambda x: x * 2)).invoke(1)
print(len(spans))
"""


def test_after_start_trace_no_handler_is_needed() -> None:
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_A_HANDLER],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (out.stdout.strip(), out.returncode) == ("3", 0), out.stderr


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    folder = tmp_path / "greet"
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(
        "inputs:\n  who: {type: string}\n"
        "outputs:\n  greeting: {type: string, reference: '${hello.output}'}\n"
        "nodes:\n- name: hello\n  type: python\n  source: {type: code, path: hello.py}\n  inputs: {who: '${inputs.who}'}\n"
    )
    (folder / "hello.py").write_text(
        "from promptflow.core import tool\n@tool\ndef hello(who: str) -> str:\n    return f'hello {who}'\n"
    )
    return folder


@pytest.fixture
def streaming_flow(flow: Path) -> Path:
    (flow / "hello.py").write_text(
        "from promptflow.core import tool\n@tool\ndef hello(who: str):\n    yield 'hello '\n    yield who\n"
    )
    return flow


@pytest.mark.parametrize("given", [{"who": "you"}, "you"])
def test_a_flow_is_a_runnable(flow: Path, given: Any) -> None:
    runnable = FlowRunnable(flow)
    assert runnable.invoke(given) == {"greeting": "hello you"}
    assert asyncio.run(runnable.ainvoke(given)) == {"greeting": "hello you"}
    assert runnable.batch([given, given]) == [{"greeting": "hello you"}] * 2


def test_a_flow_in_a_chain(flow: Path) -> None:
    shout = FlowRunnable(flow, output="greeting") | RunnableLambda(str.upper)
    assert shout.invoke("you") == "HELLO YOU"
    assert (RunnableLambda(str.strip) | shout).invoke(" you ") == "HELLO YOU"


def test_a_flow_streams(streaming_flow: Path) -> None:
    assert list(FlowRunnable(streaming_flow).stream("you")) == [{"greeting": "hello "}, {"greeting": "you"}]
    assert list(FlowRunnable(streaming_flow, output="greeting").stream("you")) == ["hello ", "you"]

    async def read() -> list[Any]:
        return [piece async for piece in FlowRunnable(streaming_flow, output="greeting").astream("you")]

    assert asyncio.run(read()) == ["hello ", "you"]
    assert FlowRunnable(streaming_flow).invoke("you") == {"greeting": "hello you"}


def test_a_flow_that_does_not_stream_gives_one_piece(flow: Path) -> None:
    assert list(FlowRunnable(flow).stream("you")) == [{"greeting": "hello you"}]


def test_what_does_not_fit_is_said(flow: Path) -> None:
    with pytest.raises(UserErrorException, match="no output 'nope'; it has greeting"):
        FlowRunnable(flow, output="nope").invoke("you")
    text = (flow / "flow.dag.yaml").read_text().replace("inputs:\n", "inputs:\n  more: {type: string}\n", 1)
    (flow / "flow.dag.yaml").write_text(text)
    with pytest.raises(UserErrorException, match="has 2 inputs"):
        FlowRunnable(flow).invoke("you")


def test_a_runnable_is_a_function_of_its_inputs() -> None:
    function = as_callable(chain(), name="say")
    assert function(what="hi", whom="you") == function("hi", "you") == "well done"
    assert (function.__name__, function.__module__) == ("say", __name__)
    with pytest.raises(TypeError):
        function(wrong=1)


def test_messages_come_back_as_text() -> None:
    assert as_callable(model(), inputs=["question"])(question="why?") == "well done"
    pieces = as_callable(model(), inputs=["question"], stream=True)("why?")
    assert "".join(pieces) == "well done"


def test_async_functions() -> None:
    async def use() -> tuple[Any, str]:
        whole = await as_callable(chain(), is_async=True)("a", "b")
        stream: AsyncIterator[str] = as_callable(chain(), is_async=True, stream=True)("a", "b")
        return whole, "".join([piece async for piece in stream])

    assert asyncio.run(use()) == ("well done", "well done")


def test_a_runnable_is_the_tool_of_a_node(flow: Path) -> None:
    (flow / "hello.py").write_text(
        "from langchain_core.runnables import RunnableLambda\n"
        "from promptflow.core import tool\n"
        "from promptflow.integrations.langchain import as_callable\n"
        "hello = tool(as_callable(RunnableLambda(lambda who: f'hi {who}'), name='hello', inputs=['who']))\n"
    )
    assert load_flow(flow)(who="you") == {"greeting": "hi you"}


def test_a_runnable_is_the_entry_of_a_flex_flow(tmp_path: Path) -> None:
    (tmp_path / "flow.flex.yaml").write_text("entry: talk_entry:talk\n")
    (tmp_path / "talk_entry.py").write_text(
        "from langchain_core.prompts import PromptTemplate\n"
        "from promptflow.integrations.langchain import as_callable\n"
        "talk = as_callable(PromptTemplate.from_template('Say {what}'), name='talk')\n"
    )
    assert load_flow(tmp_path).invoke({"what": "hi"}).output == "Say hi"
