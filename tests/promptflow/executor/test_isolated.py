import os
import time

import pytest

from promptflow.contracts.run import Status
from promptflow.exceptions import ToolExecutionError, ValidationException
from promptflow.executor.loader import load_executor
from tests.promptflow import flowkit

YAML = """
inputs:
  x: {type: string}
outputs:
  o: {type: string, reference: "${node.output}"}
nodes:
- name: node
  type: python
  source: {type: code, path: node.py}
  isolation: process
  inputs: {x: "${inputs.x}", y: 2}
"""


@pytest.fixture
def flow_of(tmp_path):
    """Loads a flow whose one node is isolated, and has more keys."""

    def load(code, *keys, yaml=YAML):
        more = "".join(f"  {key}\n" for key in keys)
        node = "import os, time\nfrom promptflow.core import tool\n" + code
        return load_executor(flowkit.dag(tmp_path / "flow", yaml.rstrip() + "\n" + more, node_py=node))

    return load


def run(executor, x="a"):
    with executor.activated():
        return executor.run_line({"x": x}, index=0)


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_the_tool_runs_in_a_process_of_its_own_that_is_used_again(flow_of, keyword):
    executor = flow_of(f"@tool\n{keyword} node(x: str, y: int):\n    return [x, y, os.getpid(), os.getcwd()]\n")
    first, second = run(executor).output["o"], run(executor).output["o"]
    assert first[:2] == ["a", 2]
    assert first[3] == str(executor.flow.folder)
    assert first == second
    assert first[2] != os.getpid()


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_crash_fails_its_node_only(flow_of, keyword):
    executor = flow_of(f"@tool\n{keyword} node(x: str, y: int):\n    if x == 'b':\n        os._exit(9)\n    return x\n")
    assert run(executor).output == {"o": "a"}
    failed = run(executor, "b")
    assert failed.run_info.error["message"].startswith("A process of the flow's code died: exit code 9")
    assert failed.node_run_infos["node"].status is Status.Failed
    assert run(executor, "c").output == {"o": "c"}


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_the_process_ends_at_the_timeout(flow_of, keyword, tmp_path):
    code = f"@tool\n{keyword} node(x: str, y: int):\n    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    time.sleep(60)\n"
    failed = run(flow_of(code, "timeout: 0.5"))
    assert failed.run_info.error["message"] == "Node 'node' did not end within 0.5 seconds."
    pid = (tmp_path / "pid").read_text()
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_failed_attempt_is_made_again(flow_of):
    code = """
@tool
def node(x: str, y: int):
    with open("count", "a") as file:
        file.write(".")
    if os.path.getsize("count") < 3:
        os._exit(1)
    return os.path.getsize("count")
"""
    assert run(flow_of(code, "retry: {max_retries: 3, delay: 0.01}")).output == {"o": 3}


def test_its_error_says_where_it_was_raised(flow_of):
    failed = run(flow_of("class Mine(Exception): pass\n@tool\ndef node(x: str, y: int):\n    raise Mine('no')\n"))
    assert isinstance(failed.exception, ToolExecutionError)
    assert failed.exception.message == "Execution failure in 'node': (Mine) no"
    assert failed.exception.location.endswith("node.py:6")
    assert "raise Mine" in failed.exception.info["traceback"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("return {'a': (1, 2.5, None, b'b')}", {"a": (1, 2.5, None, b"b")}),
        ("yield x\n    yield 'b'", "ab"),
        ("print('hello')\n    return x", "a"),
    ],
)
def test_values_and_prints_come_back(flow_of, statement, expected, capsys):
    assert run(flow_of(f"@tool\ndef node(x: str, y: int):\n    {statement}\n")).output == {"o": expected}
    assert ("hello" in capsys.readouterr().out) == ("hello" in statement)


def test_an_async_generator_comes_back_as_its_text(flow_of):
    assert run(flow_of("@tool\nasync def node(x: str, y: int):\n    yield x\n    yield 'b'\n")).output == {"o": "ab"}


def test_loops_use_several_processes_at_once(flow_of):
    code = "@tool\ndef node(x: str, y: int):\n    time.sleep(0.3)\n    return os.getpid()\n"
    yaml = YAML.replace("${inputs.x}", "${item}")
    pids = run(flow_of(code, "foreach: [a, b, c, d]", yaml=yaml)).output["o"]
    assert len(set(pids)) == min(4, os.cpu_count() or 1)


def test_a_tool_may_ask_for_it_and_a_node_may_refuse(flow_of):
    code = "@tool(isolation='process')\ndef node(x: str, y: int):\n    return os.getpid()\n"
    assert run(flow_of(code, yaml=YAML.replace("  isolation: process\n", ""))).output["o"] != os.getpid()
    assert run(flow_of(code, yaml=YAML.replace("isolation: process", "isolation: none"))).output["o"] == os.getpid()


def test_connections_reach_the_process_but_not_its_environment(flow_of, monkeypatch):
    monkeypatch.setenv("MINE_API_KEY", "sk-secret")
    code = """
from promptflow.connections import OpenAIConnection
@tool
def node(x: str, y: OpenAIConnection):
    shown = open("/proc/self/cmdline").read() + open("/proc/self/environ").read()
    return [y.api_key, "sk-secret" in shown]
"""
    assert run(flow_of(code, yaml=YAML.replace("y: 2", "y: mine"))).output["o"] == ["sk-secret", False]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        (YAML.replace("isolation: process", "isolation: proces"), "unknown isolation 'proces'"),
        (YAML.replace("type: python", "type: prompt"), "only nodes of Python can"),
    ],
)
def test_an_isolation_that_cannot_be_is_an_error_of_the_file(flow_of, yaml, message):
    with pytest.raises(ValidationException, match=message):
        flow_of("@tool\ndef node(x: str):\n    return x\n", yaml=yaml)
