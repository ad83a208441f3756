"""Which nodes are cached, by what key, and what a hit gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptflow.batch.engine import run_lines
from promptflow.batch.options import RunOptions
from promptflow.connections import OpenAIConnection
from promptflow.contracts.multimedia import Image
from promptflow.contracts.run import LineResult
from promptflow.exceptions import ValidationException
from promptflow.executor import flights
from promptflow.executor.caching import caching
from promptflow.executor.loader import load_executor
from promptflow.workspace import Workspace
from tests.fake_model import ModelServer, Reply, model_server
from tests.promptflow import flowkit

__all__ = ["model_server"]

ASKING = """
inputs: {x: {type: string}, t: {type: double, default: 0}}
outputs: {o: {type: string, reference: "${second.output}"}}
nodes:
- name: first
  type: llm
  source: {type: code, path: first.jinja2}
  connection: mine
  api: chat
  inputs: {model: m, temperature: "${inputs.t}", x: "${inputs.x}"}
- name: second
  type: llm
  source: {type: code, path: second.jinja2}
  connection: mine
  api: chat
  inputs: {model: m, temperature: 0, x: "${first.output}"}
"""
CALLING = """
inputs: {x: {type: object}}
outputs: {o: {type: object, reference: "${a.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, enable_cache: true, inputs: {x: "${inputs.x}"}}
"""
COUNTING = """
from pathlib import Path
from promptflow.core import tool

@tool
def a(x):
    with open("calls", "a") as file:
        file.write(".")
    return {"got": x}
"""
TOOL = """  type: custom_llm
  source: {type: package_with_prompt, tool: promptflow.tools.llm.llm, path: first.jinja2}
"""
Run = Callable[..., LineResult]


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    flow = flowkit.dag(tmp_path / "asking", ASKING)
    (flow / "first.jinja2").write_text("user:\n1 {{x}}\n")
    (flow / "second.jinja2").write_text("user:\n2 {{x}}\n")
    return flow


@pytest.fixture
def calling(tmp_path: Path) -> Path:
    return flowkit.dag(tmp_path / "calling", CALLING, a_py=COUNTING)


@pytest.fixture
def run(home: Path, model_server: ModelServer) -> Run:
    """Run one line as a process of its own would, with the cache."""

    def run(flow: Path, mode: str = "auto", *, connection: Any = None, streaming: bool = False, **inputs: Any) -> Any:
        mine = connection or OpenAIConnection(api_key="k", base_url=model_server.base_url)
        executor = load_executor(flow, provider=lambda name: mine)
        with caching(executor, mode, Workspace.open(home)), executor.activated():
            return executor.run_line(inputs, index=3, run_id="r", streaming=streaming)

    return run


def output(result: LineResult) -> Any:
    assert result.exception is None, result.exception
    return result.output["o"]


def count(flow: Path) -> int:
    """How often the tool ran."""
    return len((flow / "calls").read_text()) if (flow / "calls").exists() else 0


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


# -- LLM nodes --------------------------------------------------------------------------------------------------------
def test_a_model_that_samples_the_same_is_asked_once(asking: Path, run: Run, model_server: ModelServer) -> None:
    first = run(asking, x="hello")
    assert (output(first), len(model_server.requests)) == ("2 1 hello", 2)
    again = run(asking, x="hello")
    assert (output(again), len(model_server.requests)) == ("2 1 hello", 2)
    info = again.node_run_infos["second"]
    assert (info.cached_run_id, info.cached_flow_run_id) == ("r_second_3", "r")
    assert info.inputs == first.node_run_infos["second"].inputs
    assert again.run_info.system_metrics["total_tokens"] == 0
    assert first.node_run_infos["second"].cached_run_id is None


def test_after_an_edit_only_the_node_and_what_depends_on_it_call(
    asking: Path, run: Run, model_server: ModelServer
) -> None:
    run(asking, x="hello")
    change(asking / "second.jinja2", "2", "zwei")
    assert output(run(asking, x="hello")) == "zwei 1 hello"
    assert [body["messages"][-1]["content"] for body in model_server.bodies[2:]] == ["zwei 1 hello"]
    change(asking / "first.jinja2", "1", "eins")
    assert output(run(asking, x="hello")) == "zwei eins hello"
    assert len(model_server.requests) == 5
    change(asking / "first.jinja2", "{{x}}", "{# says #}{{x}}")  # the prompt stays what it was
    run(asking, x="hello")
    assert len(model_server.requests) == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("temperature: 0,", "temperature: 0, max_tokens: 9,"),
        ("model: m, temperature: 0,", "model: n, temperature: 0,"),
        ("temperature: 0,", "temperature: 0, logit_bias: {50256: -100},"),
    ],
)
def test_parameters_and_model_are_part_of_the_key(
    asking: Path, run: Run, model_server: ModelServer, old: str, new: str
) -> None:
    run(asking, x="hello")
    change(asking / "flow.dag.yaml", old, new)
    run(asking, x="hello")
    assert len(model_server.requests) == 3
    run(asking, x="hello")
    assert len(model_server.requests) == 3


def test_the_endpoint_is_part_of_the_key_and_the_api_key_is_not(
    asking: Path, run: Run, model_server: ModelServer
) -> None:
    run(asking, x="hello")
    run(asking, x="hello", connection=OpenAIConnection(api_key="other", base_url=model_server.base_url))
    assert len(model_server.requests) == 2
    run(asking, x="hello", connection=OpenAIConnection(api_key="k", base_url=f"{model_server.url}/v1/../v1"))
    assert len(model_server.requests) == 4


@pytest.mark.parametrize(
    ("parameters", "calls"),
    [
        ("temperature: 0.7,", 2),
        ("", 2),
        ("temperature: 0.7, seed: 1,", 1),
        ("temperature: '0',", 1),
        ("seed: 0,", 1),
    ],
)
def test_a_model_that_samples_anew_is_asked_again(
    asking: Path, run: Run, model_server: ModelServer, parameters: str, calls: int
) -> None:
    change(asking / "flow.dag.yaml", "temperature: 0,", parameters)
    run(asking, x="hello")
    run(asking, x="hello")
    assert len(model_server.requests) == 1 + calls


def test_enable_cache_decides_for_a_node(asking: Path, run: Run, model_server: ModelServer) -> None:
    change(asking / "flow.dag.yaml", "- name: first\n", "- name: first\n  enable_cache: true\n")
    change(asking / "flow.dag.yaml", "- name: second\n", "- name: second\n  enable_cache: false\n")
    run(asking, x="hello", t=0.9)
    run(asking, x="hello", t=0.9)
    assert len(model_server.requests) == 3


def test_the_temperature_of_each_line_counts(asking: Path, run: Run, model_server: ModelServer) -> None:
    for _ in range(2):
        run(asking, x="hello", t=0)
        run(asking, x="hello", t=1)
    assert len(model_server.requests) == 2 + 2


def test_the_llm_tool_of_a_package(asking: Path, run: Run, model_server: ModelServer) -> None:
    yaml = asking / "flow.dag.yaml"
    change(yaml, "  type: llm\n  source: {type: code, path: first.jinja2}\n  connection: mine\n", TOOL)
    change(yaml, '{model: m, temperature: "${inputs.t}",', '{connection: mine, model: m, temperature: "${inputs.t}",')
    for _ in range(2):
        run(asking, x="hello")
    assert len(model_server.requests) == 2
    change(asking / "first.jinja2", "1", "eins")
    run(asking, x="hello")
    assert [body["messages"][-1]["content"] for body in model_server.bodies[2:]] == ["eins hello", "2 eins hello"]
    for _ in range(2):
        run(asking, x="hello", t=0.5)
    assert len(model_server.requests) == 6


def test_modes(asking: Path, run: Run, model_server: ModelServer, home: Path) -> None:
    def calls(mode: str) -> int:
        before = len(model_server.requests)
        output(run(asking, mode, x="hello"))
        return len(model_server.requests) - before

    assert calls("off") == 2
    assert not (home / "cache").exists()
    assert calls("read") == 2
    assert calls("refresh") == 2
    assert calls("read") == 0
    assert calls("refresh") == 2
    assert calls("auto") == 0


def test_errors_are_not_kept(asking: Path, run: Run, model_server: ModelServer) -> None:
    model_server.script(Reply.error(400, "no"))
    assert run(asking, x="hello").exception is not None
    assert output(run(asking, x="hello")) == "2 1 hello"
    assert len(model_server.requests) == 3


def test_a_stream_is_kept_joined(asking: Path, run: Run, model_server: ModelServer) -> None:
    change(asking / "flow.dag.yaml", "model: m, temperature: 0,", "model: m, temperature: 0, stream: true,")
    first = output(run(asking, x="hello world"))
    again = run(asking, x="hello world")
    assert (output(again), len(model_server.requests)) == (first, 2)
    streamed = run(asking, streaming=True, x="hello world")
    assert list(streamed.output["o"]) == [first]
    assert len(model_server.requests) == 2


def test_a_loop_is_one_result(tmp_path: Path, run: Run, model_server: ModelServer) -> None:
    flow = flowkit.dag(
        tmp_path / "loop",
        """
        inputs: {x: {type: list}}
        outputs: {o: {type: list, reference: "${each.output}"}}
        nodes:
        - name: each
          type: llm
          source: {type: code, path: each.jinja2}
          connection: mine
          api: chat
          foreach: {over: "${inputs.x}"}
          inputs: {model: m, temperature: 0, word: "${item}"}
        """,
    )
    (flow / "each.jinja2").write_text("user:\n<{{word}}>\n")
    for _ in range(2):
        assert output(run(flow, x=["a", "b"])) == ["<a>", "<b>"]
    assert len(model_server.requests) == 2
    assert output(run(flow, x=["a", "c"])) == ["<a>", "<c>"]
    assert len(model_server.requests) == 4


def test_nodes_of_a_flow_that_is_a_node(asking: Path, tmp_path: Path, run: Run, model_server: ModelServer) -> None:
    outer = """
    inputs: {x: {type: string}}
    outputs: {o: {type: string, reference: "${inner.output.o}"}}
    nodes:
    - {name: inner, type: flow, source: {type: flow, path: ../asking}, inputs: {x: "${inputs.x}"}}
    """
    flow = flowkit.dag(tmp_path / "outer", outer)
    mine = OpenAIConnection(api_key="k", base_url=model_server.base_url)
    for _ in range(2):
        executor = load_executor(flow, provider=lambda name: mine)
        with caching(executor, "auto", Workspace.open()), executor.activated():
            assert output(executor.run_line({"x": "hello"})) == "2 1 hello"
    assert len(model_server.requests) == 2


# -- Python nodes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    ["text", 1, 1.5, True, None, ["a", {"b": [None]}], {"k": "v"}, "ünïcode \U0001f600", {"data:image": 1}],
    ids=str,
)
def test_a_python_node_that_asks_is_cached(calling: Path, run: Run, value: Any) -> None:
    results = [output(run(calling, x=value)) for _ in range(2)]
    assert results == [{"got": value}] * 2
    assert count(calling) == 1


def test_one_that_does_not_ask_is_not(calling: Path, run: Run, home: Path) -> None:
    change(calling / "flow.dag.yaml", "enable_cache: true, ", "")
    run(calling, x=1)
    run(calling, x=1)
    assert count(calling) == 2
    assert not (home / "cache").exists()


@pytest.mark.parametrize(("words", "calls"), [("pure=True", 1), ("pure=False", 2)])
def test_a_tool_says_whether_it_is_pure(calling: Path, run: Run, words: str, calls: int) -> None:
    change(calling / "a.py", "@tool", f"@tool({words})")
    if words == "pure=True":
        change(calling / "flow.dag.yaml", "enable_cache: true, ", "")
    run(calling, x=1)
    run(calling, x=1)
    assert count(calling) == calls


def test_values_that_json_would_mix_up_are_told_apart(calling: Path, run: Run) -> None:
    values: list[Any] = [1, 1.0, True, None, "None", [], {}, "", [1], {"1": 1}, {"a": 1, "b": 2}]
    for value in values:
        assert output(run(calling, x=value)) == {"got": value}
    assert count(calling) == len(values)
    run(calling, x={"b": 2, "a": 1})
    assert count(calling) == len(values)


@pytest.mark.parametrize("value", [float("nan"), (1, 2), {1: 2}, {1, 2}, b"x", object, 10**30], ids=repr)
def test_inputs_that_json_does_not_hold_are_never_a_hit(calling: Path, run: Run, value: Any) -> None:
    change(calling / "a.py", 'return {"got": x}', "return 1")
    run(calling, x=value)
    run(calling, x=value)
    assert count(calling) == 2


@pytest.mark.parametrize("code", ["float('nan')", "(1, 2)", "{1: 2}", "{1, 2}", "b'x'", "object()", "'\\ud800'"])
def test_outputs_that_json_does_not_hold_are_not_kept(calling: Path, run: Run, code: str) -> None:
    change(calling / "a.py", 'return {"got": x}', f"return {code}")
    assert repr(output(run(calling, x=1)))[:5] == repr(output(run(calling, x=1)))[:5]
    assert count(calling) == 2


def test_an_image_comes_back_as_it_was(calling: Path, run: Run) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + b"pixels" * 1000
    code = f"from promptflow.contracts.multimedia import Image\n    return [x, Image({picture!r}, None, 'http://u/p')]"
    change(calling / "a.py", 'return {"got": x}', code)
    for image in (Image(picture), Image(picture), Image(picture + b"!")):
        first, second = output(run(calling, x=image))
        assert (first, type(first), first._mime_type, first.source_url) == (image, Image, "image/png", None)
        assert (second, second.source_url) == (picture, "http://u/p")
    assert count(calling) == 2


def test_a_generator_is_kept_as_its_text(calling: Path, run: Run) -> None:
    change(calling / "a.py", 'return {"got": x}', 'yield "a"\n    yield x')
    assert [output(run(calling, x="b")) for _ in range(2)] == ["ab", "ab"]
    assert count(calling) == 1


def test_a_generator_that_fails_is_not_kept(calling: Path, run: Run) -> None:
    change(calling / "a.py", 'return {"got": x}', 'yield "a"\n    raise ValueError("no")')
    for _ in range(2):
        assert run(calling, x="b").exception is not None
    assert count(calling) == 2


def test_the_source_is_part_of_the_key_with_the_modules_it_imports(calling: Path, run: Run) -> None:
    flowkit.write(calling, helper_py="from deeper import WORD\n", deeper_py="WORD = 1\n", other_py="X = 1\n")
    change(calling / "a.py", "from pathlib import Path", "import helper")
    run(calling, x=1)
    run(calling, x=1)
    assert count(calling) == 1
    (calling / "other.py").write_text("X = 2\n")
    run(calling, x=1)
    assert count(calling) == 1
    (calling / "deeper.py").write_text("WORD = 2\n")
    run(calling, x=1)
    assert count(calling) == 2
    change(calling / "a.py", '"got"', '"has"')
    assert output(run(calling, x=1)) == {"has": 1}
    assert count(calling) == 3


def test_environment_variables_of_the_flow_are_part_of_the_key(calling: Path, run: Run) -> None:
    run(calling, x=1)
    change(calling / "flow.dag.yaml", "nodes:", "environment_variables: {WORD: b}\nnodes:")
    executor = load_executor(calling)
    with caching(executor, "auto", Workspace.open()), executor.activated():
        executor.run_line({"x": 1})
    assert count(calling) == 2


def test_how_a_class_was_made_is_part_of_the_key(calling: Path, run: Run) -> None:
    code = """
    from promptflow.core import ToolProvider, tool

    class Counter(ToolProvider):
        def __init__(self, start: int):
            self.start = start

        @tool
        def a(self, x):
            with open("calls", "a") as file:
                file.write(".")
            return self.start + x
    """
    flowkit.write(calling, a_py=code)
    change(calling / "flow.dag.yaml", 'inputs: {x: "', 'inputs: {start: 1, x: "')
    assert [output(run(calling, x=1)) for _ in range(2)] == [2, 2]
    change(calling / "flow.dag.yaml", "start: 1", "start: 2")
    assert output(run(calling, x=1)) == 3
    assert count(calling) == 2


def test_aggregation_nodes_log_metrics_and_are_not_cached(calling: Path, run: Run, home: Path) -> None:
    change(calling / "flow.dag.yaml", "enable_cache: true,", "enable_cache: true, aggregation: true,")
    change(calling / "flow.dag.yaml", "${a.output}", "${inputs.x}")
    executor = flowkit.load(calling)
    with caching(executor, "auto", Workspace.open(home)), executor.activated():
        for _ in range(2):
            executor.run_aggregation({"x": [1]}, {})
    assert count(calling) == 2


def test_a_wrong_size_is_named(calling: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PF_CACHE_MAX_SIZE", "much")
    with pytest.raises(ValidationException, match="much"):
        run(calling, x=1)


# -- the same call, wanted by several at once -------------------------------------------------------------------------
SLOW = """
import os, {wait}
from promptflow.core import tool

@tool
{keyword} a(x):
    with open("calls", "a") as file:
        file.write(".")
    {pause}(0.2)
    {code}
"""
HOW = {
    "def": {"keyword": "def", "wait": "time", "pause": "time.sleep"},
    "async def": {"keyword": "async def", "wait": "asyncio", "pause": "await asyncio.sleep"},
}


def together(flow: Path, home: Path, *values: Any, timeout: float = 60.0) -> list[LineResult]:
    """Run lines with these inputs at once, in one batch with the cache."""
    executor, results = load_executor(flow), {}

    def done(result: LineResult, row: Any, printed: str) -> None:
        results[result.run_info.index] = result

    options = RunOptions(concurrency=len(values), line_timeout=timeout)
    with caching(executor, "auto", Workspace.open(home)), executor.activated():
        run_lines(executor, enumerate({"x": value} for value in values), done, run_id="r", options=options)
    return [results[number] for number in range(len(values))]


@pytest.mark.parametrize("keyword", HOW)
def test_lines_that_need_one_result_at_once_make_one_call(calling: Path, home: Path, keyword: str) -> None:
    (calling / "a.py").write_text(SLOW.format(code='return {"got": x}', **HOW[keyword]))
    results = together(calling, home, 1, 1, 1, 2, 2, 1)
    assert [output(result)["got"] for result in results] == [1, 1, 1, 2, 2, 1]
    assert count(calling) == 2
    made_by = [result.node_run_infos["a"].cached_run_id for result in results]
    assert made_by.count(None) == 2


@pytest.mark.parametrize("keyword", HOW)
@pytest.mark.parametrize("code", ['raise ValueError("no")', "return object()"])
def test_who_waited_in_vain_makes_a_call_of_its_own(calling: Path, home: Path, keyword: str, code: str) -> None:
    code = f"if os.path.getsize('calls') == 1 or {'object' in code}: {code}\n    return x"
    (calling / "a.py").write_text(SLOW.format(code=code, **HOW[keyword]))
    results = together(calling, home, 1, 1, 1)
    failed = [result for result in results if result.exception is not None]
    assert len(failed) == ("raise" in code)
    assert count(calling) == 3


@pytest.mark.parametrize("keyword", HOW)
def test_a_call_that_hangs_holds_up_its_own_line_only(
    calling: Path, home: Path, keyword: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "PATIENCE", 0.3)
    pause = HOW[keyword]["pause"]
    code = f"if os.path.getsize('calls') == 1: {pause}(3)\n    return x"
    (calling / "a.py").write_text(SLOW.format(code=code, **HOW[keyword]))
    results = together(calling, home, 1, 1, 1, timeout=1.5)
    assert [result.run_info.status.value for result in results].count("Failed") == 1
    assert count(calling) == 3


def test_a_line_that_is_given_up_lets_others_go_on(calling: Path, home: Path) -> None:
    code = "await asyncio.sleep(30 if os.path.getsize('calls') == 1 else 0)\n    return x"
    (calling / "a.py").write_text(SLOW.format(code=code, **HOW["async def"]))
    executor = load_executor(calling)

    async def both() -> LineResult:
        first, second = (asyncio.create_task(executor.run_line_async({"x": 1}, index=i, run_id="r")) for i in range(2))
        await asyncio.sleep(0.1)
        first.cancel()
        return await second

    with caching(executor, "auto", Workspace.open(home)), executor.activated():
        assert output(asyncio.run(both())) == 1
    assert count(calling) == 2
