"""Decorators of the package ``inference-schema``, as scripts have them."""

import pytest

from serve.endpoints.spec import SCRIPT, Spec
from tests.serve.scorers.workers import worker

pytest.importorskip("inference_schema")
pytest.importorskip("pandas")

TEXT = """
import numpy, pandas
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

@input_schema("array", NumpyParameterType(numpy.array([[1.0, 2.0]]), enforce_shape=True))
@input_schema("table", PandasParameterType(pandas.DataFrame({"a": [1], "b": ["x"]})))
@input_schema("nested", StandardPythonParameterType({
    "inner": NumpyParameterType(numpy.array([1])), "word": StandardPythonParameterType("w"),
}))
@output_schema(StandardPythonParameterType({"sum": 1.0, "columns": ["a"], "kinds": ["int"]}))
def run(array, table, nested, factor=2):
    if nested["word"] == "fail":
        raise ValueError("by itself")
    kinds = [type(one).__name__ for one in (array, table, nested["inner"])]
    return {"sum": float(array.sum()) * factor, "columns": list(table.columns), "kinds": kinds}
"""
BODY = {
    "array": [[1.0, 2.0], [3.0, 4.0]],
    "table": [{"a": 1, "b": "x"}],
    "nested": {"inner": [1, 2], "word": "w"},
}


@pytest.fixture(scope="module")
def blue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schemas")
    (folder / "code").mkdir()
    (folder / "code" / "score.py").write_text(TEXT)
    with worker(folder / "w", Spec(SCRIPT, code=folder / "code", scoring_script="score.py")) as found:
        yield found


def test_parameters_come_as_the_types_of_their_samples(blue):
    answer = blue.score(BODY)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"sum": 20.0, "columns": ["a", "b"], "kinds": ["ndarray", "DataFrame", "ndarray"]}
    named = {name.upper(): value for name, value in BODY.items()}
    assert blue.score(named).json()["sum"] == 20.0


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"array": [[1.0], [2.0]]}, 400, "is not what run() takes"),
        ({"array": [["a", "b"]]}, 400, "is not what run() takes"),
        ({"other": 1}, 400, "has no parameter 'other'; it has"),
        ({"nested": {"inner": [1], "word": "fail"}}, 500, "run() raised ValueError at score.py:16: by itself"),
    ],
)
def test_what_does_not_fit_is_the_callers_and_what_fails_is_not(blue, change, status, told):
    answer = blue.score({**BODY, **change})
    assert (answer.status_code, told in answer.json()["error"]["message"]) == (status, True), answer.text


def test_bodies_that_are_no_objects(blue):
    assert blue.score([1]).status_code == 400
    assert blue.http.post("/score", content=b"{").status_code == 400
    assert blue.http.post("/score", content=b"[" * 100_000).status_code == 400


@pytest.mark.parametrize("version", [2, 3])
def test_swagger_of_both_versions(blue, version):
    told = blue.http.get(f"/swagger.json?version={version}").json()
    schemas = told["definitions"] if version == 2 else told["components"]["schemas"]
    assert set(schemas["ServiceInput"]["properties"]) == {"array", "table", "nested", "factor"}
    assert schemas["ServiceInput"]["example"]["array"] == [[1.0, 2.0]]
    assert set(schemas["ServiceOutput"]["properties"]) == {"sum", "columns", "kinds"}
    assert told["swagger" if version == 2 else "openapi"].startswith(str(version))


def test_a_swagger_of_their_own(tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "score.py").write_text("def run(raw): return 1")
    (code / "swagger2.json").write_text('{"swagger": "2.0", "own": true}')
    with worker(tmp_path / "w", Spec(SCRIPT, code=code, scoring_script="score.py")) as found:
        assert found.http.get("/swagger.json?version=2").json()["own"] is True
        assert "own" not in found.http.get("/swagger.json").json()
