"""Texts, types and shapes on their way from a body to a model, without a process."""

import json
import pickle
import struct
from datetime import datetime

import pytest

from serve.scorers.base import Call, InputError, LoadError, MediaError
from serve.scorers.inputs import Inputs, Table
from serve.scorers.model import ModelScorer
from serve.scorers.models.base import Loading
from serve.scorers.models.signature import Schema, read_schema

np = pytest.importorskip("numpy")


def post(path, body, kind="application/json", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call("POST", path, "", {"content-type": kind, **headers}, content)


def scorer(estimator, folder, **options):
    (folder / "model.pkl").write_bytes(pickle.dumps(estimator))
    found = ModelScorer("m", Loading(folder / "model.pkl", True, options))
    found.load()
    return found


def asked(model, path, body, **values):
    return json.loads(model.answer(post(path, body, **values)).body)


# -- texts ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """A reader of documents: it takes a list of texts."""
    linear = pytest.importorskip("sklearn.linear_model")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = ["good fine", "bad awful", "fine good good", "awful"]
    model = make_pipeline(TfidfVectorizer(), linear.LogisticRegression()).fit(texts, [1, 0, 1, 0])
    return scorer(model, tmp_path_factory.mktemp("documents"))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", {"input_data": ["good", "awful"]}),
        ("/score", {"input_data": [["good"], ["awful"]]}),
        ("/score", {"input_data": {"columns": ["text"], "data": [["good"], ["awful"]]}}),
        ("/invocations", {"inputs": ["good", "awful"]}),
        ("/invocations", {"dataframe_records": [{"text": "good"}, {"text": "awful"}]}),
        ("/v1/models/m:predict", {"instances": ["good", "awful"]}),
        (
            "/v2/models/m/infer",
            {"inputs": [{"name": "t", "datatype": "BYTES", "shape": [2], "data": ["good", "awful"]}]},
        ),
    ],
)
def test_texts_by_every_dialect(documents, path, body):
    found = asked(documents, path, body)
    found = found if isinstance(found, list) else found.get("predictions") or found["outputs"][0]["data"]
    assert found == [1, 0]


def test_texts_as_bytes(documents):
    packed = b"".join(struct.pack("<I", len(one)) + one for one in (b"good", b"awful"))
    tensor = {"name": "t", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": len(packed)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    told = {"inference-header-content-length": str(len(head))}
    call = Call("POST", "/v2/models/m/infer", "", told, head + packed)
    assert json.loads(documents.answer(call).body)["outputs"][0]["data"] == [1, 0]


@pytest.mark.parametrize("cut", [1, 5, 9])
def test_texts_that_end_in_the_middle(documents, cut):
    packed = (struct.pack("<I", 4) + b"good" + struct.pack("<I", 5) + b"awful")[:-cut]
    tensor = {"name": "t", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(packed)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    told = {"inference-header-content-length": str(len(head))}
    with pytest.raises(InputError):
        documents.answer(Call("POST", "/v2/models/m/infer", "", told, head + packed))


def test_columns_of_texts_and_numbers(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pandas.DataFrame({"town": ["a", "b"] * 6, "size": range(12)})
    inner = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough"), LogisticRegression()
    )
    search = GridSearchCV(inner, {"logisticregression__C": [1.0]}, cv=2).fit(frame, frame["town"])
    model = scorer(search, tmp_path)
    body = {"dataframe_split": {"columns": ["size", "town"], "data": [[3, "b"], [4, "a"]]}}
    assert asked(model, "/invocations", body) == {"predictions": ["b", "a"]}
    assert asked(model, "/score", {"input_data": [["b", 3]]}) == ["b"]
    assert asked(model, "/invocations", b"size,town\n3,b\n4,a\n", kind="text/csv") == {"predictions": ["b", "a"]}
    with pytest.raises(InputError, match="unknown categories"):
        asked(model, "/score", {"input_data": [["c", 3]]})


def test_csv_is_read_by_columns(tmp_path):
    from serve.scorers.dialects import mlflow

    body = b'i,f,t,b,n,q\n1,1.5,x,True,,"a,b"\n2,NaN,007,False,,c\n'
    table = mlflow.read(post("/invocations", body, "text/csv; charset=utf-8")).table
    assert [row[:5] for row in table.rows][0] == [1, 1.5, "x", True, None]
    assert (
        table.rows[1] == [2, pytest.approx(float("nan"), nan_ok=True), "007", False, None, "c"]
        or table.rows[1][1] is None
    )
    with pytest.raises(MediaError):
        mlflow.read(post("/invocations", b"<a/>", "text/xml"))


# -- types and shapes --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("torch") / "model.pt"
    torch.manual_seed(1)
    module = torch.nn.Linear(3, 2)
    with pytest.warns():
        torch.jit.save(torch.jit.trace(module, torch.ones(1, 3)), path)
    found = ModelScorer("m", Loading(path))
    with pytest.warns():
        found.load()
    return found, module(torch.tensor([[1.0, 2.0, 3.0]])).tolist()


def test_whole_numbers_of_json_for_a_model_of_floats(linear):
    model, expected = linear
    for row in ([1, 2, 3], [1.0, 2, 3]):
        np.testing.assert_allclose(asked(model, "/score", {"input_data": [row]}), expected, rtol=1e-5)


@pytest.mark.parametrize("rows", [[[1.0, 2.0]], [[1.0, 2.0, "a"]], [[[]]], 5])
def test_shapes_that_torch_does_not_take(linear, rows):
    with pytest.raises(InputError):
        asked(linear[0], "/score", {"input_data": rows})


def schema(*columns, params=None):
    inputs = [{"name": name, "type": kind, "required": required} for name, kind, required in columns]
    return read_schema({"signature": {"inputs": json.dumps(inputs), "params": params}})


ALL = schema(
    ("n", "long", True),
    ("s", "string", True),
    ("d", "datetime", False),
    ("b", "binary", False),
    ("t", "boolean", False),
)


def test_a_signature_orders_and_casts():
    table = Table(("x", "t", "s", "n", "d", "b"), [[0, 1, "a", 3.0, "2026-01-31T12:00:00", "aGk="]])
    found = ALL.apply(Inputs(table)).table
    assert found.columns == ("n", "s", "d", "b", "t")
    assert found.rows == [[3, "a", datetime(2026, 1, 31, 12), b"hi", True]]
    assert ALL.apply(Inputs(Table(("s", "n"), [["a", None]]))).table.rows == [[None, "a"]]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([1.5, "a"], r"Row 0 has '1.5' in the column 'n': it takes whole numbers"),
        (["1", "a"], "it takes whole numbers"),
        ([1, 2], r"in the column 's': it takes texts"),
    ],
)
def test_what_cannot_be_cast_is_named(row, told):
    with pytest.raises(InputError, match=told):
        ALL.apply(Inputs(Table(("n", "s"), [row])))


def test_tensors_of_a_signature():
    spec = [{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1, 2]}}]
    one = read_schema({"signature": {"inputs": json.dumps(spec)}})
    found = one.apply(Inputs(None, {"": np.array([[1.0, 2.0]])})).tensors[""]
    assert found.dtype == np.int64 and found.tolist() == [[1, 2]]
    with pytest.raises(InputError, match="the model takes"):
        one.apply(Inputs(None, {"": np.array([1, 2])}))
    with pytest.raises(InputError, match="fractions"):
        one.apply(Inputs(None, {"": np.array([[1.5, 2.0]])}))


def test_signatures_that_are_left_to_mlflow_or_are_broken():
    nested = [{"type": "array", "items": {"type": "string"}, "name": "a"}]
    assert read_schema({"signature": {"inputs": json.dumps(nested)}}) == Schema()
    assert read_schema({}) == Schema()
    with pytest.raises(LoadError, match="signature"):
        read_schema({"signature": {"inputs": "{"}})


# -- what files are --------------------------------------------------------------------------------------------------


def test_a_folder_with_other_files_and_names_that_tell_nothing(tmp_path):
    from serve.scorers.models import kind_of

    for name, head in {"a.json": b'{"learner":{}}', "b.txt": b"tree\nversion=v4", "c.model": b'{"learner":{'}.items():
        (tmp_path / name).write_bytes(head)
    assert [kind_of(tmp_path / name) for name in ("a.json", "b.txt", "c.model")] == ["xgboost", "lightgbm", "xgboost"]
    (tmp_path / "README").write_text("read me")
    with pytest.raises(LoadError, match="cannot be told what kind"):
        kind_of(tmp_path / "README")
    with pytest.raises(LoadError, match="is not there"):
        ModelScorer("m", Loading(tmp_path / "gone")).load()
    with pytest.raises(LoadError, match="which is the model"):
        ModelScorer("m", Loading(tmp_path)).load()
