"""A ``score.py`` in its process, called over HTTP."""

import json
from importlib.metadata import version

import pytest

from serve.endpoints.spec import SCRIPT, RequestSettings, Spec
from serve.scorers.__main__ import NOT_LOADED
from tests.serve.scorers.workers import worker

PLAIN = """
import json, os
import helper

def init():
    global folder
    folder = os.environ["AZUREML_MODEL_DIR"]
    print("init complete")

def run(raw):
    data = json.loads(raw)
    print("printed by run")
    match data["do"]:
        case "sum": return {"sum": sum(data["of"]), "model": os.listdir(folder), "helper": helper.NAME}
        case "fail": raise ValueError("no way")
        case "exit": raise SystemExit(3)
        case "nan": return [1.0, float("nan")]
        case "object": return object()
        case "text": return "hello"
        case "numpy":
            import numpy
            return {"array": numpy.arange(3), "scalar": numpy.float32(0.5), "rows": numpy.ones((2, 1))[::-1]}
        case "table":
            import pandas
            return pandas.DataFrame({"a": [1, 2]})
"""


@pytest.fixture
def spec(tmp_path):
    code, model = tmp_path / "code", tmp_path / "models" / "7" / "model.bin"
    code.mkdir()
    model.parent.mkdir(parents=True)
    model.write_bytes(b"")
    (code / "helper.py").write_text("NAME = 'of the code folder'")

    def make(text: str, **kwargs) -> Spec:
        (code / "score.py").write_text(text)
        return Spec(SCRIPT, model_path=model, code=code, scoring_script="score.py", **kwargs)

    return make


def test_init_once_and_run_for_each_request(spec, tmp_path):
    with worker(tmp_path / "w", spec(PLAIN)) as blue:
        answer = blue.score({"do": "sum", "of": [1, 2]})
        assert answer.json() == {"sum": 3, "model": ["model.bin"], "helper": "of the code folder"}
        assert answer.headers["content-type"] == "application/json"
        assert blue.score({"do": "text"}).json() == "hello"
        assert blue.http.get("/").text == "Healthy"
        assert blue.http.get("/nowhere").status_code == 404
        assert blue.log.count("init complete") == 1 and blue.log.count("printed by run") == 2


def test_what_fails_is_told_and_the_next_request_is_answered(spec, tmp_path):
    with worker(tmp_path / "w", spec(PLAIN)) as blue:
        for what, told in (
            ("fail", "run() raised ValueError at score.py:15: no way"),
            ("exit", "run() raised SystemExit at score.py:16: 3"),
            ("nan", "The answer holds nan at [1]"),
            ("object", "a value of the type object"),
        ):
            answer = blue.score({"do": what})
            assert answer.status_code == 500 and told in answer.json()["error"]["message"]
            assert answer.headers["ms-azureml-model-error-reason"] == "model_error"
        answer = blue.http.post("/score", content=b"\xff")
        assert answer.status_code == 400 and "UTF-8" in answer.json()["error"]["message"]
        assert blue.score({"do": "text"}).status_code == 200
        assert 'raise ValueError("no way")' in blue.log


def test_numpy_and_tables_are_answers(spec, tmp_path):
    pytest.importorskip("pandas")
    with worker(tmp_path / "w", spec(PLAIN)) as blue:
        assert blue.score({"do": "numpy"}).json() == {"array": [0, 1, 2], "scalar": 0.5, "rows": [[1.0], [1.0]]}
        assert blue.score({"do": "table"}).json() == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def init(): raise OSError('no such model')\ndef run(raw): pass", "init() of score.py raised OSError at"),
        ("import not_there\ndef run(raw): pass", "add 'not_there' to the conda_file"),
        ("import orjson.not_there\ndef run(raw): pass", f"orjson {version('orjson')} has no 'orjson.not_there'"),
        ("def init(): pass", "has no function 'run'"),
        ("def run(raw:", "raised SyntaxError"),
    ],
)
def test_what_cannot_be_loaded_ends_the_process_with_the_reason(spec, tmp_path, text, told):
    with worker(tmp_path / "w", spec(text), ready=False) as blue:
        assert blue.process.wait(60) == NOT_LOADED
        assert told in blue.log.splitlines()[-1]


def test_requests_and_responses_as_scripts_see_them(spec, tmp_path):
    text = """
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse

@rawhttp
def run(request):
    assert isinstance(request, AMLRequest)
    if request.method == "GET":
        return AMLResponse(f"{request.args['who']} {request.headers['X-Tag']}", 201, {"x-own": "1"})
    return AMLResponse({n: f.read().decode() for n, f in request.files.items()} | request.form, 200, json_str=True)
"""
    with worker(tmp_path / "w", spec(text)) as blue:
        answer = blue.http.get("/score?who=me", headers={"x-tag": "t"})
        assert (answer.status_code, answer.text, answer.headers["x-own"]) == (201, "me t", "1")
        answer = blue.http.post("/score", files={"image": ("a.png", b"bytes")}, data={"name": "n"})
        assert answer.json() == {"image": "bytes", "name": "n"}


def test_several_files_of_one_name_and_an_answer_of_another_type(spec, tmp_path):
    text = """
from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse

@rawhttp
def run(request):
    answer = AMLResponse(b"+".join(f.stream.read() for f in request.files.getlist("f[]")), 200)
    answer.mimetype = "image/jpg"
    assert request.args.getlist("n") == ["1", "2"] and request.form.getlist("none") == []
    return answer
"""
    with worker(tmp_path / "w", spec(text)) as blue:
        files = [("f[]", ("a.png", b"one")), ("f[]", ("b.png", b"two"))]
        answer = blue.http.post("/score?n=1&n=2", files=files)
        assert (answer.text, answer.headers["content-type"]) == ("one+two", "image/jpg")


def test_requests_at_once_are_as_many_as_the_deployment_allows(spec, tmp_path):
    text = """
import threading
both = threading.Barrier(2, timeout=20)
def run(raw):
    both.wait()
    return "met"
"""
    with worker(tmp_path / "w", spec(text, request=RequestSettings(concurrency=2))) as blue:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            assert [answer.json() for answer in pool.map(blue.score, [1, 2])] == ["met", "met"]


def test_it_ends_with_whoever_started_it(spec, tmp_path):
    with worker(tmp_path / "w", spec(PLAIN)) as blue:
        process = blue.process
    assert process.returncode


def test_variables_and_swagger(spec, tmp_path):
    text = "import os\ndef run(raw): return [os.environ[n] for n in ('MINE', 'AZUREML_ENTRY_SCRIPT')]"
    with worker(tmp_path / "w", spec(text, variables={"MINE": "1"})) as blue:
        assert blue.score(None).json() == ["1", "score.py"]
        assert blue.http.get("/swagger.json").json()["openapi"] == "3.0.0"
        two = json.loads(blue.http.get("/swagger.json?version=2").content)
        assert two["swagger"] == "2.0" and two["paths"]["/score"]["post"]["operationId"] == "RunMLService"
