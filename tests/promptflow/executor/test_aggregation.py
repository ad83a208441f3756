from tests.promptflow.flowkit import dag, load

YAML = """
inputs: {answer: {type: string}, truth: {type: string}}
outputs: {grade: {type: string, reference: "${grade.output}"}}
nodes:
- {name: grade, type: python, source: {type: code, path: grade.py}, inputs: {a: "${inputs.answer}", t: "${inputs.truth}"}}
- name: total
  type: python
  aggregation: true
  source: {type: code, path: total.py}
  inputs: {grades: "${grade.output}", truths: "${inputs.truth}"}
- name: after
  type: python
  aggregation: true
  source: {type: code, path: after.py}
  inputs: {total: "${total.output}"}
"""
GRADE = "from promptflow.core import tool\n@tool\ndef grade(a, t): return {'ok': a == t}\n"
TOTAL = """
from promptflow.core import log_metric, tool

@tool
def total(grades: list, truths: list):
    right = sum(g["ok"] for g in grades)
    log_metric("accuracy", right / len(grades))
    return {"right": right, "truths": truths}
"""
AFTER = "from promptflow.core import tool\n@tool\ndef after(total): return total['right'] + 1\n"


def test_aggregation_nodes_get_lists_and_log_metrics(tmp_path):
    executor = load(dag(tmp_path, YAML, grade_py=GRADE, total_py=TOTAL, after_py=AFTER))
    rows = [{"answer": "a", "truth": "a"}, {"answer": "b", "truth": "c"}]

    lines = [executor.run_line(row, index=i, run_id="r") for i, row in enumerate(rows)]
    assert [line.output for line in lines] == [{"grade": {"ok": True}}, {"grade": {"ok": False}}]
    assert [line.aggregation_inputs for line in lines] == [
        {"${grade.output}": {"ok": True}},
        {"${grade.output}": {"ok": False}},
    ]

    result = executor.run_aggregation(
        {key: [row[key] for row in rows] for key in rows[0]},
        {"${grade.output}": [line.aggregation_inputs["${grade.output}"] for line in lines]},
        "r",
    )
    assert result.metrics == {"accuracy": 0.5}
    assert result.output == {"total": {"right": 1, "truths": ["a", "c"]}, "after": 2}
    assert sorted(result.node_run_infos) == ["after", "total"]
