"""Folders that MLflow saved: they answer what MLflow's own scoring server answers to the same bodies."""

import functools
import json
import warnings
from types import SimpleNamespace

import pytest

from serve.scorers.base import Call, InputError, LoadError
from serve.scorers.model import ModelScorer
from serve.scorers.models.base import Loading

numpy = pytest.importorskip("numpy")
pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pyfunc = pytest.importorskip("mlflow.pyfunc")
from mlflow.exceptions import MlflowException  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
COLUMNS = ["a", "b", "c"]
ROWS = [[0.5, 1.0, 2.0], [3.0, 0.1, 1.0], [1.0, 1.0, 1.0]]
SPLIT = {"dataframe_split": {"columns": COLUMNS, "index": [7, 8, 9], "data": ROWS}}
TURNED = {"dataframe_split": {"columns": ["x", *COLUMNS[::-1]], "data": [[0, *row[::-1]] for row in ROWS]}}
RECORDS = {"dataframe_records": [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]}
LISTS = {"inputs": {name: [row[at] for row in ROWS] for at, name in enumerate(COLUMNS)}}
PLAIN = {"inputs": ROWS}
NONE = ["numpy"]  # to guess them, MLflow starts a process for each
CSV = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in ROWS)


@pytest.fixture(scope="module")
def data():
    chance = numpy.random.default_rng(1)
    frame = pandas.DataFrame(chance.random((60, 3)) * 3, columns=COLUMNS)
    return frame, (frame["a"] > frame["b"]).astype(int)


def sklearn_model(folder, data):
    from mlflow import sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    frame, labels = data
    model = LogisticRegression().fit(frame.to_numpy(), labels)  # without names: the signature has them
    sklearn.save_model(
        model, folder, signature=infer_signature(*data), serialization_format="cloudpickle", pip_requirements=NONE
    )


def sklearn_by_skops(folder, data):
    pytest.importorskip("skops")
    from mlflow import sklearn
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(*data)
    sklearn.save_model(
        model, folder, signature=infer_signature(*data), serialization_format="skops", pip_requirements=NONE
    )


def probabilities(folder, data):
    from mlflow import sklearn
    from sklearn.linear_model import LogisticRegression

    sklearn.save_model(
        LogisticRegression().fit(*data),
        folder,
        pyfunc_predict_fn="predict_proba",
        serialization_format="pickle",
        pip_requirements=NONE,
    )


def lightgbm_booster(folder, data):
    pytest.importorskip("lightgbm")
    import lightgbm
    from mlflow import lightgbm as flavor

    frame, labels = data
    booster = lightgbm.train({"verbose": -1, "objective": "binary"}, lightgbm.Dataset(frame, labels), 3)
    flavor.save_model(booster, folder, pip_requirements=NONE)


def lightgbm_classifier(folder, data):
    pytest.importorskip("lightgbm")
    import lightgbm
    from mlflow import lightgbm as flavor

    flavor.save_model(lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(*data), folder, pip_requirements=NONE)


def xgboost_classifier(folder, data):
    pytest.importorskip("xgboost")
    import xgboost
    from mlflow import xgboost as flavor

    flavor.save_model(xgboost.XGBClassifier(n_estimators=3).fit(*data), folder, pip_requirements=NONE)


def xgboost_booster(folder, data):
    pytest.importorskip("xgboost")
    import xgboost
    from mlflow import xgboost as flavor

    flavor.save_model(xgboost.train({}, xgboost.DMatrix(*data), 3), folder, pip_requirements=NONE)


def onnx_model(folder, data):
    convert = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    from mlflow import onnx
    from sklearn.linear_model import LinearRegression

    kind = convert.common.data_types.FloatTensorType([None, 3])
    frame, labels = data
    onnx.save_model(
        convert.convert_sklearn(LinearRegression().fit(frame, labels), initial_types=[("x", kind)]),
        folder,
        pip_requirements=NONE,
    )


def torch_model(folder, data):
    torch = pytest.importorskip("torch")
    from mlflow import pytorch

    torch.manual_seed(3)
    pytorch.save_model(torch.nn.Linear(3, 2), folder, serialization_format="pickle", pip_requirements=NONE)


class Own(pyfunc.PythonModel):
    """Answers a table with dates and what is missing, and uses what it is told."""

    def predict(self, context, model_input, params=None):
        table = pandas.DataFrame(model_input)
        missing = [None, *[1.5] * (len(table) - 1)]
        times = pandas.Timestamp("2026-01-31")
        return pandas.DataFrame({"sum": table.sum(axis=1) * (params or {}).get("factor", 1), "m": missing, "t": times})


def own_model(folder, data):
    from mlflow.models import infer_signature

    frame = data[0]
    pyfunc.save_model(
        folder,
        python_model=Own(),
        signature=infer_signature(frame, frame, params={"factor": 2.0}),
        pip_requirements=NONE,
    )


def column_model(folder, data):
    class Column(pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            return pandas.Series([1.0, float("nan"), 3.0], name="s")

    pyfunc.save_model(folder, python_model=Column(), pip_requirements=NONE)


def call(path, body, kind="application/json"):
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Call("POST", path, "", {"content-type": kind}, content)


@functools.cache
def their_model(folder):
    return pyfunc.load_model(str(folder))


def theirs(folder, asked):
    """What MLflow's server answers."""
    from mlflow.pyfunc.scoring_server import invocations

    model = their_model(folder)
    text = asked.body.decode()
    found = invocations(text, asked.headers["content-type"], model, model.metadata.get_input_schema())
    assert found.status == 200, found.response
    return json.loads(found.response)


def near(one, other):
    """Equal but for the last digits of floats, and NaN like NaN."""
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(near(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return one == pytest.approx(other, rel=1e-4, nan_ok=True)
    return one == other


def loaded(folder, **options):
    scorer = ModelScorer("m", Loading(folder, pickles=True, options=options))
    scorer.load()
    return scorer


REFUSED = (TURNED, LISTS, PLAIN)


@pytest.fixture(scope="module")
def saved(data, tmp_path_factory):
    """Folders by what makes them, each made once."""
    made = {}

    def folder(make):
        if make not in made:
            path = tmp_path_factory.mktemp("mlflow") / "model"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make(path, data)
            made[make] = SimpleNamespace(path=path, scorer=loaded(path))
        return made[make]

    return folder


@pytest.mark.parametrize(
    "make",
    [
        sklearn_model, sklearn_by_skops, probabilities, lightgbm_booster, lightgbm_classifier, xgboost_classifier,
        xgboost_booster, onnx_model, torch_model, own_model, column_model,
    ],
    ids=lambda make: make.__name__,
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [SPLIT, RECORDS, TURNED, LISTS, PLAIN, CSV], ids=["split", "records", "turned", "lists", "plain", "csv"]
)
def test_answers_are_those_of_mlflows_server(saved, make, body):
    asked = call("/invocations", body, "text/csv" if body is CSV else "application/json")
    model = saved(make)
    try:
        expected = theirs(model.path, asked)
    except MlflowException:
        assert body in REFUSED  # without a signature, or where it has names
        pytest.skip("their server refuses it, and ours finds its way")
    ours = json.loads(model.scorer.answer(asked).body)
    assert near(ours, expected), ours


@pytest.mark.parametrize(
    ("make", "body", "told"),
    [
        (sklearn_model, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, "has no column 'c'"),
        (sklearn_model, {"inputs": [[1.0, 2.0]]}, "The rows have 2 values, and the model takes 3"),
        (own_model, {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}, "has no column 'c'"),
        (own_model, {**SPLIT, "params": {"factor": "much"}}, "factor"),
    ],
)
def test_what_the_signature_does_not_know_is_the_callers_error(saved, make, body, told):
    with pytest.raises(InputError, match=told):
        saved(make).scorer.answer(call("/invocations", body))


def test_words_to_the_model(saved):
    asked = call("/invocations", {**SPLIT, "params": {"factor": 10.0}})
    model = saved(own_model)
    assert near(json.loads(model.scorer.answer(asked).body), theirs(model.path, asked))
    asked = call("/score", {"input_data": {"columns": COLUMNS, "data": ROWS}, "params": {"factor": 10.0}})
    assert json.loads(model.scorer.answer(asked).body)[0]["sum"] == 35.0


def test_the_signature_is_the_metadata(saved):
    told = json.loads(saved(sklearn_model).scorer.answer(Call("GET", "/v2/models/m", "", {}, b"")).body)
    assert told["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1, 1]} for name in COLUMNS]


def test_types_of_trusted_files_only(data, tmp_path):
    skops = pytest.importorskip("skops.io")
    from sklearn.preprocessing import FunctionTransformer

    transformer = FunctionTransformer(numpy.log1p).fit(data[0])
    skops.dump(transformer, tmp_path / "model.skops")
    needed = skops.get_untrusted_types(file=tmp_path / "model.skops")
    if not needed:
        pytest.skip("skops trusts it by itself")
    with pytest.raises(LoadError, match="nobody has said to be trusted"):
        ModelScorer("m", Loading(tmp_path / "model.skops")).load()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flavors: {sklearn: {pickled_model: ../../etc/passwd}}", "outside of its folder"),
        ("flavors: {sklearn: {pickled_model: gone.pkl}}", "gone.pkl, which is not there"),
        ("flavors: [", "cannot be read"),
        ("a: b", "cannot be read"),
        ("flavors: {strange: {}}", "can run any code"),
    ],
)
def test_folders_that_cannot_be_loaded(tmp_path, text, told):
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(LoadError, match=told):
        ModelScorer("m", Loading(tmp_path)).load()
