"""One line through a DAG flow."""

import asyncio
import time

import pytest

from promptflow.contracts.run import Status
from promptflow.exceptions import (
    InputNotFound,
    InputTypeError,
    InvalidReferenceProperty,
    NodeTimeoutError,
    NoToolDefined,
    ToolExecutionError,
    ToolLoadError,
    UserErrorException,
)
from promptflow.executor.activation import activated
from tests.promptflow.flowkit import dag, load, run, write

CHAIN = """
inputs:
  x: {type: string}
  n: {type: int, default: 2}
outputs:
  o: {type: string, reference: "${b.output}"}
nodes:
- name: b
  type: python
  source: {type: code, path: b.py}
  inputs: {y: "${a.output.parts[0]}", n: "${inputs.n}"}
- name: a
  type: python
  source: {type: code, path: a.py}
  inputs: {x: "${inputs.x}"}
"""
A = """
from promptflow.core import tool

@tool
def a(x: str):
    return {"parts": [x, "rest"]}
"""
B = """
from promptflow.core import tool

@tool
def b(y: str, n: int = 1) -> str:
    return y * n
"""


def test_nodes_run_in_the_order_of_their_references(tmp_path):
    assert run(dag(tmp_path, CHAIN, a_py=A, b_py=B), x="ab") == {"o": "abab"}


def test_inputs_are_coerced_and_defaults_filled_in(tmp_path):
    folder = dag(tmp_path, CHAIN, a_py=A, b_py=B)

    assert run(folder, x="ab", n="3") == {"o": "ababab"}
    with pytest.raises(InputNotFound, match="'x'"):
        run(folder)
    with pytest.raises(InputTypeError, match="'n'"):
        run(folder, x="ab", n="three")


def test_a_failed_line_is_a_result_with_the_users_file_and_line(tmp_path):
    executor = load(dag(tmp_path, CHAIN, a_py=A, b_py=B.replace("return y * n", "raise KeyError(y)")))

    result = executor.run_line({"x": "ab"})

    assert isinstance(result.exception, ToolExecutionError)
    assert "Execution failure in 'b': (KeyError)" in str(result.exception)
    assert result.exception.location.endswith("b.py:5")
    assert result.run_info.status is Status.Failed
    assert result.run_info.error["code"] == "UserError"
    assert result.node_run_infos["a"].status is Status.Completed
    assert result.node_run_infos["b"].error["additionalInfo"][0]["info"]["lineno"] == 5


def test_a_property_that_is_not_there_names_what_is(tmp_path):
    with pytest.raises(InvalidReferenceProperty) as caught:
        run(dag(tmp_path, CHAIN.replace("parts[0]", "part"), a_py=A, b_py=B), x="ab")

    assert caught.value.hint == "its keys are: parts"


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("def broken(:\n    pass\n", ToolLoadError, "SyntaxError"),
        ("import no_such_package_here\n", ToolLoadError, "no_such_package_here"),
        ("raise ValueError('at import')\n", ToolLoadError, "at import"),
        ("import sys; sys.exit(3)\n", ToolLoadError, "sys.exit"),
        ("def a(x): return x\n", NoToolDefined, "No tool found"),
        ("from promptflow.core import tool\n@tool\ndef a(x): ...\n@tool\ndef c(x): ...\n", ToolLoadError, "2 tools"),
    ],
)
def test_a_tool_file_that_cannot_be_loaded_is_a_user_error_with_its_place(tmp_path, code, error, said):
    with pytest.raises(error, match=said) as caught:
        load(dag(tmp_path, CHAIN, a_py=code, b_py=B))

    assert "a.py" in caught.value.location


def test_sys_exit_in_a_tool_fails_its_line_only(tmp_path):
    folder = dag(tmp_path, CHAIN, a_py=A, b_py="import sys\n" + B.replace("return y * n", "sys.exit(3)"))

    with pytest.raises(ToolExecutionError, match="SystemExit"):
        run(folder, x="ab")


def test_a_missing_source_file_is_named(tmp_path):
    with pytest.raises(UserErrorException, match=r"b\.py"):
        load(dag(tmp_path, CHAIN, a_py=A))


def test_empty_literals_leave_the_functions_default(tmp_path):
    yaml = """
    outputs: {o: {type: string, reference: "${a.output}"}}
    nodes:
    - name: a
      type: python
      source: {type: code, path: a.py}
      inputs: {x: "", y: null, z: "7"}
    """
    code = "from promptflow.core import tool\n@tool\ndef a(x='dx', y='dy', z: int = 0): return [x, y, z]\n"

    assert run(dag(tmp_path, yaml, a_py=code)) == {"o": ["dx", "dy", 7]}


def test_independent_nodes_run_at_once(tmp_path):
    yaml = """
    outputs: {o: {type: list, reference: "${join.output}"}}
    nodes:
    - {name: left, type: python, source: {type: code, path: meet.py}, inputs: {who: left}}
    - {name: right, type: python, source: {type: code, path: meet.py}, inputs: {who: right}}
    - {name: join, type: python, source: {type: code, path: echo.py}, inputs: {l: "${left.output}", r: "${right.output}"}}
    """
    meet = """
    import threading
    from promptflow.core import tool
    barrier = threading.Barrier(2, timeout=20)

    @tool
    def meet(who):
        barrier.wait()
        return who
    """
    assert run(dag(tmp_path, yaml, meet_py=meet)) == {"o": {"l": "left", "r": "right"}}


def test_async_nodes_run_at_once_and_beside_sync_ones(tmp_path):
    yaml = """
    outputs: {o: {type: list, reference: "${join.output}"}}
    nodes:
    - {name: a1, type: python, source: {type: code, path: slow.py}, inputs: {who: a1}}
    - {name: a2, type: python, source: {type: code, path: slow.py}, inputs: {who: a2}}
    - {name: join, type: python, source: {type: code, path: echo.py}, inputs: {l: "${a1.output}", r: "${a2.output}"}}
    """
    slow = """
    import asyncio
    from promptflow.core import tool
    arrived = []

    @tool
    async def slow(who):
        arrived.append(who)
        while len(arrived) < 2:
            await asyncio.sleep(0.01)
        return who
    """
    folder = dag(tmp_path, yaml, slow_py=slow)

    assert load(folder).prefers_async
    assert run(folder) == {"o": {"l": "a1", "r": "a2"}}


def test_a_line_runs_on_the_callers_event_loop_too(tmp_path):
    executor = load(dag(tmp_path, CHAIN, a_py=A, b_py=B))

    result = asyncio.run(executor.run_line_async({"x": "ab"}))

    assert result.output == {"o": "abab"}


GENERATOR = """
inputs: {x: {type: string, default: abc}}
outputs: {o: {type: string, reference: "${a.output}"}, p: {type: string, reference: "${b.output}"}}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
- {name: b, type: python, source: {type: code, path: b.py}, inputs: {y: "${a.output}"}}
"""
READER = "from promptflow.core import tool\n@tool\ndef b(y): return type(y).__name__ + ':' + '|'.join(y)\n"


def test_a_generator_node_is_read_by_its_consumers_and_joined_in_the_outputs(tmp_path):
    code = "from promptflow.core import tool\n@tool\ndef a(x):\n    for c in x:\n        yield c\n"

    assert run(dag(tmp_path, GENERATOR, a_py=code, b_py=READER)) == {"o": "abc", "p": "generator:a|b|c"}


def test_a_stream_is_left_to_the_caller_who_asks_for_it(tmp_path):
    code = "from promptflow.core import tool\n@tool\nasync def a(x):\n    for c in x:\n        yield c\n"
    yaml = "\n".join(line for line in GENERATOR.splitlines() if "name: b" not in line).replace(
        ', p: {type: string, reference: "${b.output}"}', ""
    )
    executor = load(dag(tmp_path, yaml, a_py=code))

    result = executor.run_line({}, streaming=True)

    assert list(result.output["o"]) == ["a", "b", "c"]
    assert executor.run_line({}).output == {"o": "abc"}


def test_a_class_tool_takes_its_init_inputs_from_the_node(tmp_path):
    yaml = """
    outputs: {o: {type: string, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, source: {type: code, path: a.py}, inputs: {greeting: hey, name: joe}}
    """
    code = """
    from promptflow.core import ToolProvider, tool

    class Greeter(ToolProvider):
        def __init__(self, greeting: str):
            super().__init__()
            self.greeting = greeting

        @tool
        def greet(self, name: str):
            return f"{self.greeting} {name}"
    """
    assert run(dag(tmp_path, yaml, a_py=code)) == {"o": "hey joe"}


def test_two_flows_with_modules_of_the_same_name_do_not_meet(tmp_path):
    yaml = """
    outputs: {o: {type: string, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, source: {type: code, path: a.py}, inputs: {}}
    """
    code = "from shared import VALUE\nfrom promptflow.core import tool\n@tool\ndef a(): return VALUE\n"
    outputs = []
    for name in ("first", "second", "first"):
        folder = dag(tmp_path / name, yaml, a_py=code, shared_py=f"VALUE = {name!r}\n")
        with activated(folder):
            outputs.append(run(folder)["o"])

    assert outputs == ["first", "second", "first"]


def test_timeout_stops_waiting_for_a_tool_that_never_ends(tmp_path):
    yaml = """
    outputs: {o: {type: string, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, timeout: 0.2, source: {type: code, path: a.py}, inputs: {}}
    """
    code = (
        "import time\nfrom promptflow.core import tool\nstop = time.time() + 20\n"
        "@tool\ndef a():\n    while time.time() < stop: time.sleep(0.01)\n"
    )
    start = time.monotonic()

    with pytest.raises(NodeTimeoutError, match="0.2 seconds"):
        run(dag(tmp_path, yaml, a_py=code))

    assert time.monotonic() - start < 15


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_retry_runs_a_failed_node_again(tmp_path, kind):
    yaml = """
    outputs: {o: {type: int, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, retry: {max_retries: 2, delay: 0.01}, source: {type: code, path: a.py}, inputs: {}}
    """
    code = f"""
from promptflow.core import tool
calls = []

@tool
{kind} a():
    calls.append(1)
    if len(calls) < 3:
        raise RuntimeError("not yet")
    return len(calls)
"""
    assert run(write(dag(tmp_path, yaml), a_py=code)) == {"o": 3}


def test_run_node_runs_one_node_with_given_dependencies(tmp_path):
    executor = load(dag(tmp_path, CHAIN, a_py=A, b_py=B))

    result = executor.run_node("b", {"n": 2}, {"a": {"parts": ["zz"]}})

    assert result.output == "zzzz" and list(result.node_run_infos) == ["b"]


def test_a_tool_file_sees_its_own_path_and_the_name_it_always_had(tmp_path):
    code = """
    from __future__ import annotations
    from dataclasses import dataclass, fields
    from promptflow.core import tool

    @dataclass
    class Item:
        n: int

    @tool
    def a(x):
        return [__name__, __file__, fields(Item)[0].name]
    """
    yaml = """
    outputs: {o: {type: list, reference: "${a.output}"}}
    nodes:
    - {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: 1}}
    """
    assert run(dag(tmp_path, yaml, a_py=code)) == {"o": ["__pf_main__", str(tmp_path / "a.py"), "n"]}
