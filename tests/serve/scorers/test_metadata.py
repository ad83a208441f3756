"""What the Open Inference Protocol's metadata say that a model gives, against what it gives."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.scorers.base import Call
from serve.scorers.model import ModelScorer
from serve.scorers.models.base import Loading
from serve.scorers.models.signature import read_outputs

np = pytest.importorskip("numpy")
pytest.importorskip("sklearn")

X = np.random.default_rng(7).random((60, 3))
Y = (X[:, 0] * 3).astype(int)  # three classes
TEXTS = np.array(["low", "mid", "high"])[Y]
TWO = np.stack([X[:, 0] + X[:, 1], X[:, 2]], axis=1)


def made(name: str) -> Any:
    from sklearn import cluster, ensemble, linear_model, model_selection, multioutput, neighbors, pipeline, svm
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    makers: dict[str, Callable[[], Any]] = {
        "classes": lambda: linear_model.LogisticRegression().fit(X, Y),
        "texts": lambda: ensemble.RandomForestClassifier(5).fit(X, TEXTS),
        "truths": lambda: linear_model.LogisticRegression().fit(X, Y > 1),
        "floats": lambda: neighbors.KNeighborsClassifier().fit(X, Y.astype(float)),
        "pairs": lambda: svm.SVC(decision_function_shape="ovo").fit(X, Y),
        "pipeline": lambda: pipeline.make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(X, TEXTS),
        "search": lambda: model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1]}).fit(X, TWO),
        "number": lambda: linear_model.LinearRegression().fit(X, X[:, 0]),
        "numbers": lambda: linear_model.LinearRegression().fit(X, TWO),
        "forest": lambda: ensemble.RandomForestRegressor(5).fit(X, TWO),
        "several": lambda: multioutput.MultiOutputRegressor(linear_model.Ridge()).fit(X, TWO),
        "clusters": lambda: cluster.KMeans(2, n_init=1).fit(X),
        "outliers": lambda: ensemble.IsolationForest(n_estimators=5).fit(X),
        "components": lambda: pipeline.make_pipeline(StandardScaler(), PCA(2)).fit(X),
    }
    return makers[name]()


def loaded(file: Path, **options: Any) -> ModelScorer:
    scorer = ModelScorer("m", Loading(file, True, options))
    scorer.load()
    return scorer


def told_and_given(scorer: ModelScorer) -> tuple[list[Any], list[Any]]:
    """The outputs of the metadata, and those of an answer that was asked for all of them by name."""
    told = json.loads(scorer.answer(Call("GET", "/v2/models/m", "", {}, b"")).body)["outputs"]
    body = {
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [4, 3], "data": X[:4].ravel().tolist()}],
        "outputs": [{"name": one["name"]} for one in told],
        "parameters": {"binary_data_output": True},  # JSON has no form for the logarithm of nothing
    }
    answer = scorer.answer(Call("POST", "/v2/models/m/infer", "", {}, json.dumps(body).encode()))
    return told, json.loads(answer.body[: int(answer.headers["inference-header-content-length"])])["outputs"]


def agree(told: list[Any], given: list[Any]) -> None:
    assert [(one["name"], one["datatype"]) for one in told] == [(one["name"], one["datatype"]) for one in given]
    for one, other in zip(told, given, strict=True):
        assert len(one["shape"]) == len(other["shape"]), one
        assert all(size in (-1, there) for size, there in zip(one["shape"], other["shape"], strict=True)), one


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("classes", {"predict": "INT64", "predict_proba": "FP64"}),
        ("texts", {"predict": "BYTES", "predict_proba": "FP64"}),
        ("truths", {"predict": "BOOL", "decision_function": "FP64"}),
        ("floats", {"predict": "FP64"}),
        ("pairs", {"predict": "INT64", "decision_function": "FP64"}),
        ("pipeline", {"predict": "BYTES", "predict_proba": "FP64"}),
        ("search", {"predict": "FP64"}),
        ("number", {"predict": "FP64"}),
        ("numbers", {"predict": "FP64"}),
        ("forest", {"predict": "FP64"}),
        ("several", {"predict": "FP64"}),
        ("clusters", {"predict": "INT32", "transform": "FP64"}),
        ("outliers", {"predict": "INT64"}),
    ],
)
def test_an_estimator_gives_what_it_tells(name: str, outputs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(made(name)))
    told, given = told_and_given(loaded(tmp_path / "model.pkl"))
    agree(told, given)
    assert outputs.items() <= {one["name"]: one["datatype"] for one in told}.items()


def test_a_transformer_gives_what_it_tells(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(made("components")))
    told, given = told_and_given(loaded(tmp_path / "model.pkl", predict_fn="transform"))
    agree(told, given)
    assert told == [{"name": "transform", "datatype": "FP64", "shape": [-1, 2]}]


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_lightgbm_gives_what_it_tells(objective: str, tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    words = {"objective": objective, "verbose": -1, "num_leaves": 4, "num_threads": 1}
    words |= {"num_class": 3} if objective == "multiclass" else {}
    target = Y if objective == "multiclass" else Y > 1
    lightgbm.train(words, lightgbm.Dataset(X, target), 2).save_model(tmp_path / "model.lgb")
    agree(*told_and_given(loaded(tmp_path / "model.lgb")))


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "multi:softmax", "reg:squarederror"])
def test_xgboost_gives_what_it_tells(objective: str, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    words = {"objective": objective, "max_depth": 2, "nthread": 1} | ({"num_class": 3} if "multi" in objective else {})
    target = TWO if objective.startswith("reg") else Y if "multi" in objective else Y > 1
    xgboost.train(words, xgboost.DMatrix(X, target), 2).save_model(tmp_path / "model.ubj")
    agree(*told_and_given(loaded(tmp_path / "model.ubj")))


def test_a_class_whose_attributes_fail_is_loaded_and_tells_nothing() -> None:
    from serve.scorers.models.sklearn import SklearnModel

    class Strange:
        @property
        def classes_(self) -> Any:
            raise RuntimeError("not fitted")

        def predict(self, rows: Any) -> Any:
            return rows

    assert SklearnModel(Strange()).signature.outputs == ()


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ('[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]', [("predict", "INT64", (-1,))]),
        (
            '[{"type": "double", "name": "a"}, {"type": "string", "name": "b"}]',
            [("a", "FP64", (-1,)), ("b", "BYTES", (-1,))],
        ),
        ('[{"type": "tensor"}]', []),
        ("no json", []),
        (None, []),
    ],
)
def test_the_outputs_of_a_signature(outputs: str | None, expected: list[Any]) -> None:
    found = read_outputs({"signature": {"outputs": outputs}})
    assert [(one.name, one.datatype, one.shape) for one in found] == expected
