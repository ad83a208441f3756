"""Which nodes run: Prompt flow's rules of bypassing, and conditions beyond equality."""

import pytest

from promptflow.contracts.run import Status
from promptflow.exceptions import ExpressionError
from tests.promptflow.flowkit import dag, load

YAML = """
inputs: {{x: {{type: string, default: a}}}}
outputs:
  o: {{type: string, reference: "${{last.output}}"}}
nodes:
- {{name: one, type: python, source: {{type: code, path: echo.py}}, inputs: {{x: "${{inputs.x}}"}}, activate: {activate}}}
- {{name: two, type: python, source: {{type: code, path: echo.py}}, inputs: {{x: "${{one.output}}"}}}}
- {{name: last, type: python, source: {{type: code, path: last.py}}, inputs: {inputs}}}
"""
LAST = "from promptflow.core import tool\n@tool\ndef last(a, b='default', c=None): return [a, b, c]\n"


def line(folder, activate, inputs, **row):
    executor = load(dag(folder, YAML.format(activate=activate, inputs=inputs), last_py=LAST))
    return executor.run_line(row)


def bypassed(result):
    return sorted(name for name, info in result.node_run_infos.items() if info.status is Status.Bypassed)


@pytest.mark.parametrize(
    ("when", "equals", "row", "expected"),
    [
        ("${inputs.x}", "a", {}, []),
        ("${inputs.x}", "b", {}, ["one", "two"]),
        ("${inputs.x} != 'a'", None, {}, ["one", "two"]),
        ("${inputs.x} in ['a', 'b']", None, {"x": "b"}, []),
        ("not (${inputs.x} == 'a' or ${inputs.x} == 'b')", None, {"x": "c"}, []),
        ("${inputs.x} == 'a'", "false", {}, ["one", "two"]),
    ],
)
def test_a_node_runs_when_its_condition_is_met_and_takes_its_dependants_with_it(tmp_path, when, equals, row, expected):
    activate = f'{{when: "{when}"' + (f", is: {equals}}}" if equals else "}")
    result = line(tmp_path, activate, "{a: 1}", **row)

    assert result.exception is None
    assert bypassed(result) == expected


def test_an_input_from_a_bypassed_node_is_left_out_or_none(tmp_path):
    result = line(tmp_path, '{when: "${inputs.x}", is: b}', '{a: "${one.output}", b: "${two.output}", c: 3}')

    # all of its references are bypassed, so it is too; with another reference it runs
    assert bypassed(result) == ["last", "one", "two"] and result.output == {"o": None}


def test_a_node_with_one_live_reference_runs_with_the_defaults_of_the_others(tmp_path):
    yaml = YAML + '- {{name: live, type: python, source: {{type: code, path: echo.py}}, inputs: {{x: "l"}}}}\n'
    text = yaml.format(
        activate='{when: "${inputs.x}", is: b}', inputs='{a: "${one.output}", b: "${two.output}", c: "${live.output}"}'
    )
    result = load(dag(tmp_path, text, last_py=LAST)).run_line({})

    assert result.output == {"o": [None, "default", "l"]}


def test_a_condition_on_a_bypassed_node_bypasses(tmp_path):
    yaml = YAML + (
        "- {{name: guarded, type: python, source: {{type: code, path: echo.py}}, inputs: {{x: 1}}, "
        'activate: {{when: "${{one.output}}", is: a}}}}\n'
    )
    result = load(
        dag(tmp_path, yaml.format(activate='{when: "${inputs.x}", is: b}', inputs="{a: 1}"), last_py=LAST)
    ).run_line({})

    assert "guarded" in bypassed(result)


def test_in_an_expression_a_bypassed_node_counts_as_null(tmp_path):
    yaml = YAML + (
        "- {{name: fallback, type: python, source: {{type: code, path: echo.py}}, inputs: {{x: 1}}, "
        'activate: {{when: "${{one.output}} == null or ${{one.output}} == 2"}}}}\n'
    )
    result = load(
        dag(tmp_path, yaml.format(activate='{when: "${inputs.x}", is: b}', inputs="{a: 1}"), last_py=LAST)
    ).run_line({})

    assert "fallback" not in bypassed(result)


def test_a_condition_that_cannot_be_evaluated_fails_the_line_and_names_the_node(tmp_path):
    result = line(tmp_path, '{when: "${inputs.x} > 3"}', "{a: 1}")

    assert isinstance(result.exception, ExpressionError)
    assert "node one" in result.exception.location
