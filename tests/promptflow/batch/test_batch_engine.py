import json

import pytest

from promptflow.batch import BatchEngine
from promptflow.exceptions import BulkRunException, EmptyInputsData
from tests.promptflow import flowkit
from tests.promptflow.batch.conftest import YAML

NODE = """
from promptflow.core import tool

@tool
def node(x: str):
    return 1 / (x != "zero") and x
"""


@pytest.fixture
def engine(tmp_path):
    flowkit.dag(tmp_path / "f", YAML, node_py=NODE)
    (tmp_path / "rows.jsonl").write_text('{"x": "a"}\n{"x": "zero"}\n{"x": "c"}\n')
    return BatchEngine("flow.dag.yaml", tmp_path / "f", worker_count=1, line_timeout_sec=60)


def test_outputs_go_to_a_folder_of_the_caller(engine, tmp_path):
    mapping = {"x": "${data.x}"}
    result = engine.run({"data": tmp_path / "rows.jsonl"}, mapping, tmp_path / "out", run_id="mine")
    assert (result.status.value, result.total_lines, result.completed_lines, result.failed_lines) == (
        "Completed",
        3,
        2,
        1,
    )
    lines = (tmp_path / "out/flow_outputs/output.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"line_number": 0, "o": "a"}, {"line_number": 2, "o": "c"}]
    assert result.first_error()["message"].startswith("Execution failure in 'node'")


def test_a_failed_line_is_raised_on_request(engine, tmp_path):
    with pytest.raises(BulkRunException, match="Failed to run 1/3 lines"):
        engine.run({"data": tmp_path / "rows.jsonl"}, None, tmp_path / "out", raise_on_line_failure=True)


def test_bad_data_is_raised(engine, tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(EmptyInputsData):
        engine.run({"data": tmp_path / "rows.jsonl"}, None, tmp_path / "out")
