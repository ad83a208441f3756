"""Models without code, in their process, by every protocol; and by the clients that people have for them."""

import json
import pickle
from importlib.util import find_spec

import pytest

from serve.endpoints.spec import MODEL, Spec
from serve.scorers.__main__ import NOT_LOADED
from tests.serve.scorers.workers import worker

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed")

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


@pytest.fixture(scope="module")
def iris():
    """A classifier that was fitted on named columns."""
    import pandas
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    data = load_iris()
    return LogisticRegression(max_iter=500).fit(pandas.DataFrame(data.data, columns=COLUMNS), data.target)


@pytest.fixture(scope="module")
def blue(iris, tmp_path_factory):
    folder = tmp_path_factory.mktemp("iris")
    path = folder / "iris.pkl"
    path.write_bytes(pickle.dumps(iris))
    with worker(folder / "w", Spec(MODEL, model_path=path, allow_pickle=True)) as found:
        yield found


def post(found, path, body, **headers):
    return found.http.post(path, content=json.dumps(body), headers={"content-type": "application/json", **headers})


@pytest.mark.parametrize(
    ("path", "body", "key"),
    [
        ("/score", {"input_data": {"columns": COLUMNS, "index": [0, 1], "data": ROWS}}, None),
        ("/score", {"input_data": ROWS}, None),
        ("/score", {"data": ROWS}, None),
        ("/score", ROWS, None),
        ("/invocations", {"dataframe_split": {"columns": COLUMNS, "data": ROWS}}, "predictions"),
        ("/invocations", {"dataframe_records": [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]}, "predictions"),
        ("/invocations", {"inputs": ROWS}, "predictions"),
        ("/invocations", {"inputs": {n: [r[i] for r in ROWS] for i, n in enumerate(COLUMNS)}}, "predictions"),
        ("/invocations", {"instances": ROWS}, "predictions"),
        ("/invocations", {"instances": [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]}, "predictions"),
        ("/v1/models/iris:predict", {"instances": ROWS}, "predictions"),
    ],
)
def test_one_model_by_every_protocol(blue, path, body, key):
    answer = post(blue, path, body)
    assert answer.status_code == 200, answer.text
    assert (answer.json()[key] if key else answer.json()) == [0, 2]


def test_columns_are_found_by_name_and_not_by_place(blue):
    turned = {"columns": COLUMNS[::-1], "data": [row[::-1] for row in ROWS]}
    assert post(blue, "/invocations", {"dataframe_split": turned}).json() == {"predictions": [0, 2]}


def test_csv(blue):
    text = ",".join(COLUMNS) + "\n" + "\n".join(",".join(map(str, row)) for row in ROWS)
    answer = blue.http.post("/invocations", content=text, headers={"content-type": "text/csv"})
    assert answer.json() == {"predictions": [0, 2]}


def test_the_open_inference_protocol(blue):
    tensor = {"name": "x", "datatype": "FP64", "shape": [2, 4], "data": ROWS}
    answer = post(blue, "/v2/models/iris/infer", {"id": "7", "inputs": [tensor]}).json()
    (output,) = answer["outputs"]
    assert (answer["id"], answer["model_name"]) == ("7", "iris")
    assert output == {"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 2]}
    wanted = {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}
    (output,) = post(blue, "/v2/models/iris/versions/3/infer", wanted).json()["outputs"]
    assert output["shape"] == [2, 3] and sum(output["data"]) == pytest.approx(2)
    told = blue.http.get("/v2/models/iris").json()
    assert told["platform"] == "sklearn" and [one["name"] for one in told["inputs"]] == COLUMNS
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/iris/ready", "/ping", "/version", "/v2"):
        assert blue.http.get(path).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/score", {"input": ROWS}, 'The body has no "input_data".'),
        ("/score", {"input_data": [[1, 2, 3]]}, "The rows have 3 values, and the model takes 4."),
        ("/score", {"input_data": [[1, 2, 3, "a"]]}, "could not convert string to float: 'a'"),
        ("/score", {"input_data": [[1, 2, 3, None]]}, "contains NaN"),
        ("/score", {"input_data": []}, "has no rows"),
        ("/score", {"input_data": {"columns": COLUMNS, "index": [1], "data": ROWS}}, "2 labels, one for each row"),
        ("/score", {"input_data": {"columns": ["a", "a"], "data": [[1, 2]]}}, "each once"),
        ("/score", {"input_data": ROWS, "params": [1]}, "'params' must be an object"),
        (
            "/invocations",
            {"inputs": {"sepal_length": [1, 2], "sepal_width": [1], "petal_length": [1], "petal_width": [1]}},
            "not of the same length",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2, 4], "data": ROWS, "parameters": [1]}]},
            "must be an object",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2, 4], "data": ROWS}], "outputs": [{}]},
            "with a name",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2, 4], "data": ROWS}], "outputs": [{"name": "y"}]},
            "no output 'y'",
        ),
        ("/score", {"input_data": [[1, 2], [3]]}, "not of the same shape"),
        ("/score", {"input_data": {"columns": ["a"], "data": [[1]]}}, "has no column 'sepal_length'"),
        ("/score", {"input_data": {"columns": COLUMNS, "data": [[1, 2, 3]]}}, "Row 0 of 'input_data.data'"),
        ("/invocations", {"inputs": ROWS, "instances": ROWS}, "must have one of"),
        ("/invocations", {"dataframe_records": [1]}, "must be a list of objects"),
        ("/v1/models/iris:predict", {"rows": ROWS}, "has no 'instances'"),
        ("/v2/models/iris/infer", {"inputs": []}, "must be a list of tensors"),
        ("/v2/models/iris/infer", {"inputs": [{"name": "x", "datatype": "FP7", "shape": [1]}]}, "datatype 'FP7'"),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "INT64", "shape": [1, 4], "data": [1.5, 1, 1, 1]}]},
            "are not INT64",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "INT8", "shape": [1, 4], "data": [300, 1, 1, 1]}]},
            "are not INT8",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "BOOL", "shape": [1, 4], "data": ["no", 1, 1, 1]}]},
            "are not BOOL",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 3], "data": [1]}]},
            "has 1",
        ),
        (
            "/v2/models/iris/infer",
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 9}}]},
            "says that it has 9 bytes",
        ),
    ],
)
def test_bad_input_is_told_and_is_the_callers(blue, path, body, told):
    answer = post(blue, path, body)
    assert answer.status_code == 400
    found = answer.json()
    error = found if path == "/invocations" else found["error"]  # as each dialect's clients read it
    assert told in (error if isinstance(error, str) else error["message"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/score", 405),
        ("GET", "/invocations", 405),
        ("POST", "/nowhere", 404),
        ("GET", "/v2/models/a/infer", 405),
    ],
)
def test_other_methods_and_paths(blue, method, path, status):
    assert blue.http.request(method, path).status_code == status


def test_one_row_without_its_own_brackets_and_numbers_that_json_has_no_form_for(blue):
    assert post(blue, "/score", {"input_data": ROWS[0]}).json() == [0]
    answer = post(blue, "/score", {"input_data": [[1, 2, 3, float("nan")]]})
    assert answer.status_code == 400 and "NaN" in answer.text
    assert post(blue, "/score", {"input_data": [[10**400, 2, 3, 4]]}).status_code == 400
    deep = b'{"input_data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "not JSON" in blue.http.post("/score", content=deep).text
    assert blue.http.post("/score", content=b"[" * 100_000 + b"NaN").status_code == 400


def test_a_pickle_wants_the_users_word(iris, tmp_path):
    path = tmp_path / "iris.pkl"
    path.write_bytes(pickle.dumps(iris))
    with worker(tmp_path / "w", Spec(MODEL, model_path=path), ready=False) as found:
        assert found.process.wait(60) == NOT_LOADED
        assert "can run any code" in found.log and "allow_pickle: true" in found.log


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data[: len(data) // 2], "is it whole?"),
        (lambda data: b"", "it is empty"),
        (lambda data: data.replace(VERSION, b"0." + b"9" * (len(VERSION) - 2))[:-2], "was written by scikit-learn 0.9"),
    ],
)
def test_a_damaged_model_is_named(iris, tmp_path, change, told):
    path = tmp_path / "iris.pkl"
    path.write_bytes(change(pickle.dumps(iris)))
    with worker(tmp_path / "w", Spec(MODEL, model_path=path, allow_pickle=True), ready=False) as found:
        assert found.process.wait(60) == NOT_LOADED
        assert "iris.pkl cannot be loaded" in found.log and told in found.log


def test_a_pickle_of_another_version_that_names_a_module_which_is_gone(iris, tmp_path):
    path = tmp_path / "iris.pkl"
    data = pickle.dumps(iris, protocol=0).replace(VERSION, b"0.22")
    path.write_bytes(data.replace(b"csklearn.linear_model._logistic\n", b"csklearn.linear_model.logistic\n"))
    with worker(tmp_path / "w", Spec(MODEL, model_path=path, allow_pickle=True), ready=False) as found:
        assert found.process.wait(60) == NOT_LOADED
        assert "written by scikit-learn 0.22" in found.log and "scikit-learn==0.22" in found.log


if find_spec("sklearn") is not None:
    import sklearn

    VERSION = sklearn.__version__.encode()


def lightgbm_file(iris, folder):
    lightgbm = pytest.importorskip("lightgbm")
    from sklearn.datasets import load_iris

    data = load_iris()
    model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(data.data, data.target)
    model.booster_.save_model(folder / "model.txt")
    return folder / "model.txt", model.booster_.predict(ROWS)


def xgboost_file(iris, folder):
    xgboost = pytest.importorskip("xgboost")
    from sklearn.datasets import load_iris

    data = load_iris()
    model = xgboost.XGBClassifier(n_estimators=3).fit(data.data, data.target)
    model.save_model(folder / "model.ubj")
    return folder / "model.ubj", model.predict_proba(ROWS)


def skops_file(iris, folder):
    skops = pytest.importorskip("skops.io")
    skops.dump(iris, folder / "model.skops")
    return folder / "model.skops", [0, 2]


def script_file(iris, folder):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    module = torch.nn.Linear(4, 2)
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 4)), folder / "model.pt")
    return folder / "model.pt", module(torch.tensor(ROWS)).tolist()


def exported_file(iris, folder):
    torch = pytest.importorskip("torch")
    torch.manual_seed(2)
    module = torch.nn.Linear(4, 2)
    rows = torch.export.Dim("rows")
    torch.export.save(torch.export.export(module, (torch.ones(2, 4),), dynamic_shapes=[{0: rows}]), folder / "m.pt2")
    return folder / "m.pt2", module(torch.tensor(ROWS)).tolist()


def mlflow_folder(iris, folder):
    model = folder / "model"
    model.mkdir()
    (model / "model.pkl").write_bytes(pickle.dumps(iris))
    (model / "MLmodel").write_text("flavors:\n  sklearn: {pickled_model: model.pkl, serialization_format: pickle}\n")
    return model, [0, 2]


@pytest.mark.parametrize(
    "make",
    [lightgbm_file, xgboost_file, skops_file, script_file, exported_file, mlflow_folder],
    ids=lambda m: m.__name__,
)
@pytest.mark.filterwarnings("ignore")
def test_other_formats(iris, tmp_path, make):
    path, expected = make(iris, tmp_path)
    with worker(
        tmp_path / "w", Spec(MODEL, model_path=path, allow_pickle=path.is_dir() or path.suffix == ".pt2")
    ) as found:
        answer = post(found, "/score", {"input_data": ROWS})
        assert answer.status_code == 200, answer.text
        numpy.testing.assert_allclose(answer.json(), expected, rtol=1e-5)
        bad = post(found, "/score", {"input_data": [[1.0, 2.0]]})
        assert bad.status_code == 400, bad.text


def test_weights_of_a_class_in_the_code_of_the_deployment(tmp_path):
    torch = pytest.importorskip("torch")
    code = tmp_path / "code"
    code.mkdir()
    (code / "net.py").write_text(
        "import torch\nclass Net(torch.nn.Module):\n    def __init__(self, wide):\n        super().__init__()\n"
        "        self.inner = torch.nn.Linear(4, wide)\n    def forward(self, x):\n        return self.inner(x)\n"
    )
    torch.save({"inner.weight": torch.ones(2, 4), "inner.bias": torch.zeros(2)}, tmp_path / "net.pth")
    options = {"model_class": "net:Net", "model_arguments": {"wide": 2}}
    with worker(tmp_path / "w", Spec(MODEL, model_path=tmp_path / "net.pth", code=code, options=options)) as found:
        assert post(found, "/score", {"input_data": [[1, 2, 3, 4.0]]}).json() == [[10.0, 10.0]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_half_a_torchscript_is_not_taken_for_a_pickle(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(4, 1), torch.ones(1, 4)), path)
    path.write_bytes(path.read_bytes()[:-200])
    with worker(tmp_path / "w", Spec(MODEL, model_path=path), ready=False) as found:
        assert found.process.wait(60) == NOT_LOADED
        assert "its end is missing" in found.log and "allow_pickle" not in found.log


def test_onnx_by_the_names_of_its_graph(iris, tmp_path):
    convert = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "iris.onnx"
    kind = convert.common.data_types.FloatTensorType([None, 4])
    path.write_bytes(convert.convert_sklearn(iris, initial_types=[("x", kind)]).SerializeToString())
    with worker(tmp_path / "w", Spec(MODEL, model_path=path)) as found:
        assert post(found, "/score", {"input_data": ROWS}).json()["output_label"] == [0, 2]
        told = found.http.get("/v2/models/iris").json()
        assert told["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": ROWS}
        wanted = {"inputs": [tensor], "outputs": [{"name": "output_label"}]}
        assert post(found, "/v2/models/iris/infer", wanted).json()["outputs"][0]["data"] == [0, 2]
        assert "takes [-1, 4]" in post(found, "/score", {"input_data": [[1, 2]]}).text
