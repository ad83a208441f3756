import uuid

import pytest

from promptflow.contracts.run import Status
from promptflow.core import idempotency_key
from tests.promptflow import flowkit

YAML = """
inputs:
  x: {type: string}
outputs:
  a: {type: string, reference: "${a.output}"}
  b: {type: string, reference: "${b.output}"}
nodes:
- {name: a, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}%s}
- {name: b, type: python, source: {type: code, path: a.py}, inputs: {x: "${inputs.x}"}}
"""
CODE = """
from promptflow.core import idempotency_key, tool
@tool
%s key(x: str):
    assert idempotency_key() == idempotency_key()
    return idempotency_key()
"""


def keys(executor, index, run_id):
    with executor.activated():
        result = executor.run_line({"x": "1"}, index=index, run_id=run_id)
    assert result.run_info.status is Status.Completed, result.exception
    return result.output["a"], result.output["b"]


@pytest.mark.parametrize("more", ["", ", isolation: process"])
@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_key_stands_for_one_node_of_one_line_of_one_run(tmp_path, keyword, more):
    executor = flowkit.load(flowkit.dag(tmp_path / "f", YAML % more, a_py=CODE % keyword))
    places = [(0, "r"), (1, "r"), (0, "s")]
    found = [keys(executor, *place) for place in places]
    assert len({key for pair in found for key in pair}) == 6
    assert found == [keys(executor, *place) for place in places]
    assert all(uuid.UUID(key) for pair in found for key in pair)


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_items_of_a_loop_have_keys_of_their_own(tmp_path, keyword):
    yaml = YAML.replace('inputs: {x: "${inputs.x}"}%s', 'inputs: {x: "${item}"}, foreach: {over: ["p", "p", "q"]}')
    executor = flowkit.load(flowkit.dag(tmp_path / "f", yaml, a_py=CODE % keyword))
    first, again = keys(executor, 3, "r")[0], keys(executor, 3, "r")[0]
    assert len(set(first)) == 3
    assert first == again


def test_outside_of_runs_every_key_is_new(tmp_path):
    assert idempotency_key() != idempotency_key()
    executor = flowkit.load(flowkit.dag(tmp_path / "f", YAML % "", a_py=CODE.replace("    assert", "    #") % "def"))
    assert len({*keys(executor, None, None), *keys(executor, None, None)}) == 4


def test_a_flow_that_is_a_function_has_keys_too(tmp_path):
    from promptflow.executor.loader import load_executor

    executor = load_executor(lambda x: idempotency_key(), code=tmp_path)
    outputs = [executor.run_line({"x": "1"}, index=n, run_id="r").output for n in (0, 1, 0)]
    assert outputs[0] == outputs[2] != outputs[1]
