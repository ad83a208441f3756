"""What flows could not do before: a flow as a node, loops over a list."""

import pytest

from promptflow.exceptions import InvalidFlowError, NodeInputValidationError, ToolExecutionError
from promptflow.executor.loader import load_executor
from tests.promptflow.flowkit import dag, load, run

UPPER = """
inputs: {text: {type: string}, suffix: {type: string, default: "!"}}
outputs: {result: {type: string, reference: "${up.output}"}}
nodes:
- {name: up, type: python, source: {type: code, path: up.py}, inputs: {text: "${inputs.text}", suffix: "${inputs.suffix}"}}
"""
UP = "from promptflow.core import tool\n@tool\ndef up(text, suffix): return text.upper() + suffix\n"


def outer(inputs="{text: '${inputs.x}'}", foreach=""):
    return f"""
    inputs: {{x: {{type: string, default: hi}}, items: {{type: list, default: [a, b]}}}}
    outputs: {{o: {{type: object, reference: "${{sub.output}}"}}}}
    nodes:
    - {{name: sub, {foreach} source: {{type: flow, path: ../inner}}, inputs: {inputs}}}
    """


def test_a_flow_is_a_node_of_another(tmp_path):
    dag(tmp_path / "inner", UPPER, up_py=UP)

    assert run(dag(tmp_path / "outer", outer())) == {"o": {"result": "HI!"}}


def test_an_error_in_a_sub_flow_names_the_inner_node(tmp_path):
    dag(tmp_path / "inner", UPPER, up_py=UP.replace("text.upper()", "1/0 and ''"))

    with pytest.raises(ToolExecutionError, match="'up'.*ZeroDivisionError"):
        run(dag(tmp_path / "outer", outer()))


def test_an_input_that_the_sub_flow_does_not_have_is_refused_when_loaded(tmp_path):
    dag(tmp_path / "inner", UPPER, up_py=UP)

    with pytest.raises(NodeInputValidationError, match="txt") as caught:
        load(dag(tmp_path / "outer", outer("{txt: 1}")))
    assert "text, suffix" in caught.value.hint


def test_a_flow_cannot_contain_itself(tmp_path):
    folder = dag(tmp_path / "inner", outer().replace("../inner", "."))

    with pytest.raises(InvalidFlowError, match="node of itself"):
        load_executor(folder)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_foreach_runs_a_node_once_per_item_in_order(tmp_path, kind):
    yaml = """
    inputs: {items: {type: list}}
    outputs: {o: {type: list, reference: "${each.output}"}}
    nodes:
    - name: each
      type: python
      foreach: {over: "${inputs.items}", as: row, concurrency: 2}
      source: {type: code, path: each.py}
      inputs: {name: "${row.name}", whole: "${row}", fixed: 7}
    """
    code = (
        f"from promptflow.core import tool\n@tool\n{kind} each(name, whole, fixed): return [name, whole['n'], fixed]\n"
    )
    folder = dag(tmp_path, yaml, each_py=code)

    assert run(folder, items=[{"name": c, "n": i} for i, c in enumerate("abcd")]) == {
        "o": [["a", 0, 7], ["b", 1, 7], ["c", 2, 7], ["d", 3, 7]]
    }
    assert run(folder, items=[]) == {"o": []}


def test_foreach_over_a_sub_flow(tmp_path):
    dag(tmp_path / "inner", UPPER, up_py=UP)
    text = outer("{text: '${item}', suffix: '?'}", 'foreach: "${inputs.items}",')

    assert run(dag(tmp_path / "outer", text)) == {"o": [{"result": "A?"}, {"result": "B?"}]}


def test_foreach_never_runs_more_than_its_concurrency_at_once(tmp_path):
    yaml = """
    outputs: {o: {type: list, reference: "${each.output}"}}
    nodes:
    - name: each
      type: python
      foreach: {over: [1, 2, 3, 4, 5, 6], concurrency: 2}
      source: {type: code, path: each.py}
      inputs: {x: "${item}"}
    """
    code = """
    import threading, time
    from promptflow.core import tool
    lock, state = threading.Lock(), {"now": 0, "most": 0}

    @tool
    def each(x):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        time.sleep(0.02)
        with lock:
            state["now"] -= 1
        return state["most"]
    """
    assert max(run(dag(tmp_path, yaml, each_py=code))["o"]) == 2


def test_foreach_over_something_else_than_a_list_fails_the_line(tmp_path):
    dag(tmp_path / "inner", UPPER, up_py=UP)
    text = outer("{text: '${item}'}", 'foreach: "${inputs.x}",')

    with pytest.raises(NodeInputValidationError, match="needs a list, found str"):
        run(dag(tmp_path / "outer", text))
