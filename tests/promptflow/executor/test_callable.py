import asyncio
import threading

import pytest

from promptflow.client import load_flow
from promptflow.connections import CustomConnection
from promptflow.core import AsyncFlow, Flow
from promptflow.entities import FlowContext
from promptflow.exceptions import (
    ConnectionNotFoundError,
    InvalidFlowError,
    MissingRequiredFlowInput,
    ToolExecutionError,
    UserErrorException,
)
from tests.promptflow import flowkit

YAML = """
inputs:
  x: {type: string}
  k: {type: int, default: 2}
outputs:
  o: {type: string, reference: "${a.output}"}
nodes:
- name: a
  use_variants: true
node_variants:
  a:
    default_variant_id: v0
    variants:
      v0: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}", k: "${inputs.k}"}}}
      v1: {node: {type: python, source: {type: code, path: a.py}, inputs: {x: "one", k: "${inputs.k}"}}}
"""
A = """
from promptflow.core import tool

@tool
def a(x: str, k: int):
    if not x:
        raise ValueError("nothing")
    return x * k
"""


@pytest.fixture
def folder(tmp_path):
    return flowkit.dag(tmp_path / "f", YAML, a_py=A)


def test_a_flow_is_called_with_keywords(folder):
    flow = load_flow(folder)
    assert flow(x="ab") == {"o": "abab"}
    assert flow(x="ab", k=1) == {"o": "ab"}
    assert (flow.name, flow.code, flow.path.name) == ("f", folder, "flow.dag.yaml")
    assert (list(flow.inputs), list(flow.outputs)) == (["x", "k"], ["o"])
    with pytest.raises(UserErrorException, match="only be called with keyword arguments"):
        flow("ab")


def test_a_missing_input_is_named(folder):
    with pytest.raises(MissingRequiredFlowInput) as caught:
        load_flow(folder)()
    assert str(caught.value) == "Required input fields ['x'] are missing in request data {}"


def test_what_a_tool_raises_comes_out(folder):
    with pytest.raises(ToolExecutionError, match="nothing"):
        load_flow(folder)(x="")


def test_invoke_gives_the_records_too(folder):
    result = load_flow(folder).invoke({"x": "a"})
    assert result.output == {"o": "aa"}
    assert result.run_info.status.value == "Completed"
    assert {name: node.output for name, node in result.node_run_infos.items()} == {"a": "aa"}


def test_the_context_changes_how_it_is_called(folder):
    flow = load_flow(folder)
    assert flow(x="a") == {"o": "aa"}
    flow.context = FlowContext(variant="${a.v1}")
    assert flow(x="a") == {"o": "oneone"}
    flow.context.overrides = {"nodes.a.inputs.k": 1}
    assert flow(x="a") == {"o": "one"}
    flow.context = FlowContext(variant="${a.v9}")
    with pytest.raises(InvalidFlowError):
        flow(x="a")
    flow.context = FlowContext()
    assert flow(x="a") == {"o": "aa"}


def test_connections_by_name_and_as_objects(tmp_path):
    flow = load_flow(
        flowkit.dag(
            tmp_path / "f",
            """
            outputs:
              o: {type: string, reference: "${a.output}"}
            nodes:
            - {name: a, type: python, source: {type: code, path: a.py}, inputs: {c: missing}}
            """,
            a_py="""
            from promptflow.connections import CustomConnection
            from promptflow.core import tool

            @tool
            def a(c: CustomConnection):
                return c.word
            """,
        )
    )
    with pytest.raises(UserErrorException) as caught:
        flow()
    assert isinstance(caught.value, ConnectionNotFoundError) or "missing" in str(caught.value)
    flow.context.connections = {"a": {"c": CustomConnection(configs={"word": "given"}, secrets={"k": "s"})}}
    assert flow() == {"o": "given"}


def test_the_environment_of_a_flow_holds_during_calls_only(tmp_path, monkeypatch):
    monkeypatch.delenv("MY_WORD", raising=False)
    flow = load_flow(
        flowkit.dag(
            tmp_path / "f",
            """
            outputs:
              o: {type: string, reference: "${a.output}"}
            environment_variables: {MY_WORD: yaml}
            nodes:
            - {name: a, type: python, source: {type: code, path: a.py}}
            """,
            a_py="import os\nfrom promptflow.core import tool\n@tool\ndef a():\n    return os.environ['MY_WORD']\n",
        )
    )
    import os

    assert flow() == {"o": "yaml"}
    flow.context = FlowContext(environment_variables={"MY_WORD": "mine"})
    assert flow() == {"o": "mine"}
    assert "MY_WORD" not in os.environ


STREAM = """
from promptflow.core import tool

@tool
def a(x: str, k: int):
    yield from x
"""


def test_generators_are_joined_unless_the_caller_streams(tmp_path):
    folder = flowkit.dag(tmp_path / "f", YAML, a_py=STREAM)
    flow = load_flow(folder)
    assert flow(x="abc") == {"o": "abc"}
    flow.context.streaming = True
    assert list(flow(x="abc")["o"]) == ["a", "b", "c"]
    assert list(Flow.load(folder)(x="abc")["o"]) == ["a", "b", "c"]


def test_a_flow_is_read_again_when_its_file_changes(folder):
    flow = load_flow(folder)
    assert flow(x="a") == {"o": "aa"}
    file = folder / "flow.dag.yaml"
    file.write_text(file.read_text().replace("default: 2", "default: 3"))
    assert flow(x="a") == {"o": "aaa"}


def test_many_threads_may_call_one_flow(folder):
    flow = load_flow(folder)
    found = {}
    threads = [threading.Thread(target=lambda n=n: found.update({n: flow(x=str(n), k=1)["o"]})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: str(n) for n in range(16)}


def test_an_async_flow_is_awaited(folder):
    flow = AsyncFlow.load(folder)

    async def both():
        return await asyncio.gather(flow(x="a"), flow.invoke({"x": "b"}))

    called, invoked = asyncio.run(both())
    assert called == {"o": "aa"}
    assert invoked.output == {"o": "bb"}


def test_a_flex_flow_is_invoked(tmp_path):
    folder = flowkit.write(
        tmp_path / "f",
        flow_flex_yaml="entry: greet_entry:greet\n",
    )
    (folder / "greet_entry.py").write_text("def greet(name: str, mark: str = '!'):\n    return name + mark\n")
    flow = load_flow(folder)
    assert flow.invoke({"name": "you"}).output == "you!"
    with pytest.raises(UserErrorException, match="can not be called"):
        flow(name="you")


@pytest.mark.parametrize("content", ["nodes: []\ninputs: {x: }\n  bad\n", "outputs: 3\nnodes: []\n"])
def test_a_broken_flow_is_refused_when_it_is_loaded(tmp_path, content):
    flowkit.write(tmp_path / "f", flow_dag_yaml=content)
    with pytest.raises(UserErrorException):
        load_flow(tmp_path / "f")
    with pytest.raises(UserErrorException, match="does not exist"):
        load_flow(tmp_path / "nowhere")
