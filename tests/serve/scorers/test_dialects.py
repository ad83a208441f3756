"""Scripts and flows asked by the clients of models: MLflow's, KServe's, Triton's."""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import PromptflowException
from serve.endpoints.spec import FLOW, RequestSettings, Spec
from serve.scorers.base import Call, InputError, ModelError
from serve.scorers.script import ScriptScorer
from tests.serve.scorers.workers import Worker, worker

numpy = pytest.importorskip("numpy")

NUMPY = """
import numpy
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema, output_schema

@input_schema("data", NumpyParameterType(numpy.array([[1.0, 2.0]])))
@output_schema(NumpyParameterType(numpy.array([1.0])))
def run(data):
    assert data.dtype == "f8" and data.shape[1] == 2
    if data[0, 0] < 0:
        raise RuntimeError("negative")
    return data.sum(axis=1)
"""
PANDAS = """
import pandas
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema

@input_schema("data", PandasParameterType(pandas.DataFrame({"a": [1.0], "b": ["x"]})%s))
def run(data):
    return (data["b"] * data["a"].astype(int)).tolist()
"""
WORDS = """
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

@input_schema("text", StandardPythonParameterType("hello"))
@input_schema("times", StandardPythonParameterType(2))
@output_schema(StandardPythonParameterType({"said": "hello", "size": 1}))
def run(text, times):
    return {"said": text * times, "size": len(text)}
"""
RESPONSE = """
from azureml.contrib.services.aml_response import AMLResponse
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema

@input_schema("code", StandardPythonParameterType(200))
def run(code):
    return AMLResponse('{"code": %d}' % code, code)
"""
RAW = "def run(raw):\n    return raw\n"
ROWS = [[1.0, 2.0], [3.0, 4.0]]
TABLE = [{"a": 2, "b": "x"}, {"a": 1, "b": "y"}]
SAID = [{"said": "abab", "size": 2}, {"said": "c", "size": 1}]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(sys.modules[ScriptScorer.__module__].__file__ or "").parent / "shims"))

    def load(text: str) -> ScriptScorer:
        if "inference_schema" in text:
            pytest.importorskip("inference_schema")
        name = f"score_{next(NUMBERS)}"  # inference_schema keeps a list of what it has described, by name
        monkeypatch.setitem(sys.modules, name, None)  # which is undone
        (tmp_path / f"{name}.py").write_text(text)
        scorer = ScriptScorer(tmp_path, f"{name}.py")
        scorer.load()
        return scorer

    return load


def ask(scorer: ScriptScorer, path: str, body: Any, media: str = "application/json", method: str = "POST") -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = scorer.answer(Call(method, path, "", {"content-type": media}, content))
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


NUMBERS = count()
V1, INFER, MLFLOW = "/v1/models/shop:predict", "/v2/models/shop/infer", "/invocations"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (V1, {"instances": ROWS}),
        (MLFLOW, {"inputs": ROWS}),
        (MLFLOW, {"instances": ROWS}),
        (MLFLOW, {"dataframe_split": {"columns": ["a", "b"], "data": ROWS}}),
        (MLFLOW, {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}),
    ],
)
def test_an_array_is_of_all_rows(script: Any, path: str, body: Any) -> None:
    assert ask(script(NUMPY), path, body) == {"predictions": [3.0, 7.0]}


def test_an_array_of_csv_and_one_a_row_by_name(script: Any) -> None:
    scorer = script(NUMPY)
    assert ask(scorer, MLFLOW, b"a,b\n1,2\n3,4\n", "text/csv") == {"predictions": [3.0, 7.0]}
    rows = [{"data": [[1, 2]]}, {"data": ROWS}]
    assert ask(scorer, V1, {"instances": rows}) == {"predictions": [[3.0], [3.0, 7.0]]}


def test_a_tensor_is_the_parameter_of_its_name(script: Any) -> None:
    scorer = script(NUMPY)
    body = {"id": "7", "inputs": [tensor("data", "FP32", [2, 2], [1, 2, 3, 4])]}
    found = ask(scorer, INFER, body)
    assert found["id"] == "7"
    assert found["outputs"] == [tensor("output", "FP64", [2], [3.0, 7.0])]
    told = ask(scorer, "/v2/models/shop", b"", method="GET")
    assert told["inputs"] == [{"name": "data", "datatype": "FP64", "shape": [-1, -1]}]
    assert told["outputs"] == [{"name": "output", "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize("orient", ["", ", orient='split'", ", orient='records'"])
def test_a_table_is_of_all_rows(script: Any, orient: str) -> None:
    pytest.importorskip("pandas")
    scorer = script(PANDAS % orient)
    split = {"columns": ["a", "b"], "data": [[2, "x"], [1, "y"]]}
    for path, body in (
        (V1, {"instances": TABLE}),
        (MLFLOW, {"dataframe_records": TABLE}),
        (MLFLOW, {"dataframe_split": split}),
        (MLFLOW, {"inputs": {"a": [2, 1], "b": ["x", "y"]}}),
    ):
        assert ask(scorer, path, body) == {"predictions": ["xx", "y"]}
    columns = [tensor("a", "FP64", [2, 1], [2, 1]), tensor("b", "BYTES", [2, 1], ["x", "y"])]
    assert ask(scorer, INFER, {"inputs": columns})["outputs"] == [tensor("output", "BYTES", [2], ["xx", "y"])]
    if "split" not in orient:
        told = ask(scorer, "/v2/models/shop", b"", method="GET")
        assert [(one["name"], one["datatype"]) for one in told["inputs"]] == [("a", "FP64"), ("b", "BYTES")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (V1, {"instances": [{"text": "ab", "times": 2}, {"text": "c", "times": 1}]}),
        (MLFLOW, {"dataframe_records": [{"text": "ab", "times": 2}, {"text": "c", "times": 1}]}),
        (MLFLOW, {"dataframe_split": {"columns": ["times", "text"], "data": [[2, "ab"], [1, "c"]]}}),
        (MLFLOW, {"inputs": {"text": ["ab", "c"], "times": [2, 1]}}),
        (MLFLOW, {"inputs": [{"text": "ab", "times": 2}, {"text": "c", "times": 1}]}),
    ],
)
def test_other_parameters_are_of_one_row(script: Any, path: str, body: Any) -> None:
    assert ask(script(WORDS), path, body) == {"predictions": SAID}


def test_tensors_are_columns_of_other_parameters(script: Any) -> None:
    scorer = script(WORDS)
    body = {"inputs": [tensor("text", "BYTES", [2], ["ab", "c"]), tensor("times", "INT32", [2, 1], [2, 1])]}
    found = ask(scorer, INFER, body)["outputs"]
    assert found == [tensor("said", "BYTES", [2], ["abab", "c"]), tensor("size", "INT64", [2], [2, 1])]
    told = ask(scorer, "/v2/models/shop", b"", method="GET")
    assert [(one["name"], one["datatype"]) for one in told["inputs"]] == [("text", "BYTES"), ("times", "INT64")]
    assert [(one["name"], one["datatype"]) for one in told["outputs"]] == [("said", "BYTES"), ("size", "INT64")]
    assert ask(scorer, MLFLOW, {"inputs": {"text": "ab", "times": 2}}) == {"predictions": SAID[:1]}  # one row by name


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (V1, {"instances": ["ab"]}, "must be an object of the parameters of run.*: times, text|text, times"),
        (V1, {"instances": {"text": "ab"}}, "'instances' must be a list"),
        (V1, {"rows": []}, "has no 'instances'"),
        (V1, {"instances": [{"text": "ab", "tims": 1}]}, "no parameter 'tims'"),
        (V1, {"instances": [{"text": "ab"}]}, "is not what run"),
        (MLFLOW, {"rows": []}, "must have one of"),
        (MLFLOW, {"inputs": [], "instances": []}, "must have one of"),
        (MLFLOW, {"dataframe_records": ["ab"]}, "a list of objects"),
        (MLFLOW, {"dataframe_split": {"data": [["ab", 1]]}}, "must name its columns"),
        (MLFLOW, {"inputs": [], "params": {"a": 1}}, "'params' are for models"),
        (INFER, {"inputs": [tensor("text", "BYTES", [2], ["a", "b"]), tensor("times", "INT8", [1], [1])]}, "number of"),
        (INFER, {"inputs": [tensor("text", "FP31", [1], [1])]}, "datatype 'FP31'"),
        (INFER, {"inputs": []}, "list of tensors"),
    ],
)
def test_what_a_run_cannot_be_asked_is_said(script: Any, path: str, body: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask(script(WORDS), path, body)


def anything(rng: random.Random, depth: int = 0) -> Any:
    leaves = [None, True, 0, -1, 2**70, 0.5, float("nan"), "", "text", "\ud800", [], {}]
    if depth > 3 or rng.random() < 0.4:
        return rng.choice(leaves)
    if rng.random() < 0.5:
        return [anything(rng, depth + 1) for _ in range(rng.choice([0, 1, 2, 3]))]
    words = ["text", "times", "data", "columns", "index", "name", "shape", "datatype", "parameters", "binary_data_size"]
    return {rng.choice(words): anything(rng, depth + 1) for _ in range(rng.choice([1, 2, 3]))}


@pytest.mark.parametrize("text", [WORDS, NUMPY, PANDAS % "", PANDAS % ", orient='split'"])
def test_whatever_a_body_holds_it_is_answered_or_said_what_is_wrong(script: Any, text: str) -> None:
    scorer, rng = script(text), random.Random(5)
    keys = ["instances", "inputs", "dataframe_split", "dataframe_records", "outputs", "params", "id", "parameters"]
    for _ in range(300):
        body = {rng.choice(keys): anything(rng) for _ in range(rng.choice([1, 1, 2]))}
        path = rng.choice([V1, MLFLOW, INFER])
        try:
            scorer.answer(Call("POST", path, "", {"content-type": "application/json"}, json.dumps(body).encode()))
        except InputError as error:
            assert str(error)
        except ModelError as error:
            assert str(error).startswith("run() raised"), body


def test_an_error_of_the_code_is_one_in_every_dialect(script: Any) -> None:
    with pytest.raises(PromptflowException, match=r"run\(\) raised RuntimeError.*negative") as caught:
        ask(script(NUMPY), V1, {"instances": [[-1.0, 0.0]]})
    assert caught.value.http_status == 500


def test_a_response_of_the_script_s_own_is_unpacked(script: Any) -> None:
    scorer = script(RESPONSE)
    assert ask(scorer, V1, {"instances": [200, 201]}) == {"predictions": [{"code": 200}, {"code": 201}]}
    body = json.dumps({"instances": [200, 418]}).encode()
    answer = scorer.answer(Call("POST", V1, "", {}, body))
    assert (answer.status, answer.body) == (418, b'{"code": 418}')


@pytest.mark.parametrize("path", [V1, MLFLOW, INFER])
def test_where_nothing_tells_what_values_are_the_way_that_works_is_named(script: Any, path: str) -> None:
    scorer = script(RAW)
    with pytest.raises(PromptflowException, match="ask /score") as caught:
        ask(scorer, path, {"instances": [1]})
    assert caught.value.http_status == 404 and "inference-schema" in caught.value.hint
    assert ask(scorer, "/v1/models/shop", b"", method="GET") == {"name": "shop", "ready": True}
    assert ask(scorer, "/v2/models/shop/ready", b"", method="GET")["ready"]
    assert ask(scorer, "/v2/health/live", b"", method="GET") == {"live": True}
    assert ask(scorer, "/v2/models/shop", b"", method="GET")["inputs"] == []


# -- flows ------------------------------------------------------------------------------------------------------------

DAG = """
inputs:
  question: {type: string}
  times: {type: int, default: 1}
  history: {type: list, default: []}
outputs:
  answer: {type: string, reference: "${node.output.answer}"}
  size: {type: int, reference: "${node.output.size}"}
nodes:
- name: node
  type: python
  source: {type: code, path: node.py}
  inputs: {question: "${inputs.question}", times: "${inputs.times}", history: "${inputs.history}"}
"""
NODE = """
import time
import serve
from promptflow.core import tool

@tool
def node(question: str, times: int, history: list):
    if question == "slow":
        with open("slow.log", "a") as log:
            log.write("x")
        time.sleep(0.05)
    if question == "fail":
        raise RuntimeError("no way")
    return {"answer": serve.OWN + question * times + "".join(history), "size": len(history)}
"""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A flow whose folder has a module of the name of our package."""
    folder = tmp_path_factory.mktemp("flow")
    code = folder / "code"
    code.mkdir()
    (code / "flow.dag.yaml").write_text(DAG)
    (code / "node.py").write_text(NODE)
    (code / "serve.py").write_text("OWN = 'own '")
    spec = Spec(FLOW, code=code, scoring_script="flow.dag.yaml", request=RequestSettings(concurrency=2))
    with worker(folder / "w", spec) as blue:
        yield blue


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (V1, {"instances": [{"question": "a", "times": 2}, {"question": "b"}]}),
        (V1, {"instances": [{"question": "a", "times": "2"}, {"question": "b", "history": []}]}),
        (MLFLOW, {"dataframe_records": [{"question": "a", "times": 2}, {"question": "b"}]}),
        (MLFLOW, {"dataframe_split": {"columns": ["question", "times"], "data": [["a", 2], ["b", 1]]}}),
        (MLFLOW, {"inputs": {"question": ["a", "b"], "times": [2, 1]}}),
        (MLFLOW, {"instances": [{"question": "a", "times": 2}, {"question": "b"}]}),
    ],
)
def test_a_flow_answers_row_by_row(flow: Worker, path: str, body: Any) -> None:
    answer = flow.http.post(path, json=body, headers={"accept": "text/event-stream"})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": [{"answer": "own aa", "size": 0}, {"answer": "own b", "size": 0}]}


def test_a_flow_answers_csv_and_one_row_by_name(flow: Worker) -> None:
    answer = flow.http.post(MLFLOW, content="question,times\nab,1\n", headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": [{"answer": "own ab", "size": 0}]}
    answer = flow.http.post(MLFLOW, json={"inputs": {"question": "hi", "history": ["a", "b"]}})
    assert answer.json() == {"predictions": [{"answer": "own hiab", "size": 2}]}


def test_a_flow_answers_many_rows_in_their_order(flow: Worker) -> None:
    rows = [{"question": str(number)} for number in range(50)]
    found = flow.http.post(V1, json={"instances": rows}).json()["predictions"]
    assert [one["answer"] for one in found] == [f"own {number}" for number in range(50)]


def test_a_flow_takes_tensors_by_the_names_of_its_inputs(flow: Worker) -> None:
    question = tensor("question", "BYTES", [2, 1], ["a", "b"])
    history = tensor("history", "BYTES", [2], ["[]", '["x", "y"]'])  # lists are texts of JSON
    answer = flow.http.post(INFER, json={"id": "7", "inputs": [question, history]}).json()
    assert answer["id"] == "7"
    assert answer["outputs"] == [
        tensor("answer", "BYTES", [2], ["own a", "own bxy"]),
        tensor("size", "INT64", [2], [0, 2]),
    ]
    wanted = flow.http.post(INFER, json={"inputs": [question], "outputs": [{"name": "size"}]}).json()
    assert [one["name"] for one in wanted["outputs"]] == ["size"]
    told = flow.http.get("/v2/models/shop").json()
    assert told["platform"] == "promptflow"
    assert [(one["name"], one["datatype"]) for one in (*told["inputs"], *told["outputs"])] == [
        ("question", "BYTES"), ("times", "INT64"), ("history", "BYTES"), ("answer", "BYTES"), ("size", "INT64"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (V1, {"instances": [{"question": "a"}, {"times": 2}]}, 400, r"instances[1]: Required input fields"),
        (V1, {"instances": ["a"]}, 400, "the flow has 3 inputs"),
        (V1, {"instances": 3}, 400, "must be a list"),
        (V1, b"{", 400, "not JSON"),
        (MLFLOW, {"rows": []}, 400, "must have one of"),
        (INFER, {"inputs": [tensor("times", "INT8", [1], [1])]}, 400, "Required input fields"),
        (INFER, {"inputs": [{**tensor("question", "BYTES", [1], ["a"]), "shape": [2]}]}, 400, "has 1 values"),
    ],
)
def test_what_a_flow_cannot_be_asked_is_said_in_the_dialect(
    flow: Worker, path: str, body: Any, status: int, words: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = flow.http.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert words in (answer.json()["message"] if path == MLFLOW else answer.json()["error"])


def test_a_flow_s_error_has_the_status_that_it_has_at_score(flow: Worker) -> None:
    own = flow.http.post("/score", json={"question": "fail"})
    answer = flow.http.post(V1, json={"instances": [{"question": "a"}, {"question": "fail"}]})
    assert answer.status_code == own.status_code >= 400
    assert answer.json()["error"] == "instances[1]: " + own.json()["error"]["message"]


def test_rows_of_a_caller_that_hung_up_are_not_run(flow: Worker) -> None:
    rows = [{"question": "slow"}] * 400  # ten seconds
    log = flow.socket.parent.parent / "code" / "slow.log"
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(flow.socket))
        body = json.dumps({"instances": rows}).encode()
        caller.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (V1.encode(), len(body)) + body)
        while not log.is_file():
            time.sleep(0.02)
    size = -1
    while size != (size := log.stat().st_size):
        time.sleep(0.3)
    assert size < len(rows)


def test_a_flow_s_own_paths_are_its_own(flow: Worker) -> None:
    assert flow.http.get("/version").json()["status"] == flow.http.get("/health").json()["status"] == "Healthy"
    assert flow.http.get("/ping").status_code == 200
    assert flow.http.get("/v1/models/shop").json() == {"name": "shop", "ready": True}
    assert flow.http.get(V1).status_code == 405
    assert flow.http.get("/v2/repository").status_code == 404
