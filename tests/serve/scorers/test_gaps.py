"""Models that were written with another version of a library: they answer, and it is said."""

from __future__ import annotations

import asyncio
import pickle
import warnings
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from serve.endpoints.spec import MODEL, Spec
from serve.scorers.base import LoadError
from serve.scorers.gaps import VersionGapWarning, noticed, warn_of_flavor, warn_of_pins
from serve.scorers.models import open_model
from serve.scorers.models.base import Loading
from tests.serve.scorers.workers import worker
from tests.serve.supervisor.world import world

SCORE = """
import os, pickle
def init():
    global model
    with open(os.environ["AZUREML_MODEL_DIR"] + "/model.pkl", "rb") as file:
        model = pickle.load(file)
def run(raw):
    return model.predict([[1.0, 0.0]]).tolist()
"""
SKLEARN = pytest.importorskip("sklearn").__version__
OLD = "0." + "9" * (len(SKLEARN) - 2)
WRITTEN = f"written with scikit-learn {OLD}, and here is {SKLEARN}"


def fitted() -> object:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit([[1.0, 0.0], [0.0, 1.0]], [0, 1])


@pytest.fixture
def pickled(tmp_path: Path) -> Path:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(fitted()).replace(SKLEARN.encode(), OLD.encode()))
    return path


@pytest.fixture
def by_skops(tmp_path: Path) -> Path:
    io = pytest.importorskip("skops.io")
    io.dump(fitted(), tmp_path / "now.skops")
    with zipfile.ZipFile(tmp_path / "now.skops") as now, zipfile.ZipFile(tmp_path / "model.skops", "w") as old:
        for name in now.namelist():
            old.writestr(name, now.read(name).replace(SKLEARN.encode(), OLD.encode()))
    return tmp_path / "model.skops"


@pytest.fixture
def mlflow_folder(pickled: Path) -> Path:
    """With a file that does not say its version, as those of other libraries."""
    pickled.write_bytes(pickle.dumps(fitted()))
    told = f"flavors:\n  sklearn: {{pickled_model: model.pkl, sklearn_version: {OLD}}}\n"
    (pickled.parent / "MLmodel").write_text(told)
    return pickled.parent


@pytest.mark.parametrize("kind", ["pickled", "by_skops", "mlflow_folder"])
def test_a_model_of_another_version_answers_and_says_so_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    path = request.getfixturevalue(kind)
    with worker(tmp_path / "w", Spec(MODEL, model_path=path, allow_pickle=True)) as blue:
        assert blue.score({"input_data": [[1.0, 0.0]]}).json() == [0]
        ready = blue.http.get("/ready").text.splitlines()
        assert ready[0] == "Ready" and len(ready) == 2
        assert WRITTEN in ready[1] and f"scikit-learn=={OLD} in the conda_file" in ready[1]
        assert f"warning: {ready[1]}" in blue.log


def test_what_a_script_loads_is_told_by_the_deployment_also_when_it_is_scaled_to_zero(
    pickled: Path, tmp_path: Path
) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", SCORE, model_path=pickled)
            (told,) = it.status("blue")["warnings"]
            assert WRITTEN in told
            known = await asyncio.to_thread(it.store.deployment, "shop", "blue")
            spec = replace(known.spec, min_instances=0, idle_seconds=0.1)
            await asyncio.to_thread(it.store.put, replace(known, spec=spec))
            await it.app.reload()
            await it.until(lambda: not it.status("blue")["instances"], "no instance is left")
            assert it.status("blue")["warnings"] == [told]
            pickled.write_bytes(pickle.dumps(fitted()))
            await it.deploy("blue", SCORE + "\n", model_path=pickled)
            assert it.status("blue")["warnings"] == []

    asyncio.run(play())


def test_what_the_file_says_counts_more_than_what_is_written_beside_it(pickled: Path) -> None:
    told = "flavors:\n  sklearn: {pickled_model: model.pkl, sklearn_version: 0.1}\n"
    (pickled.parent / "MLmodel").write_text(told)
    with noticed() as notes, warnings.catch_warnings():
        warnings.simplefilter("always")
        open_model(Loading(pickled.parent, pickles=True))
    assert [WRITTEN in note for note in notes] == [True]


def test_a_model_of_this_version_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted()))
    with noticed() as notes:
        open_model(Loading(tmp_path / "model.pkl", pickles=True))
    assert notes == []


@pytest.mark.parametrize(
    ("flavor", "conf", "told"),
    [
        ("lightgbm", {"lgb_version": "0.1"}, "lightgbm 0.1"),
        ("xgboost", {"xgb_version": "0.1"}, "xgboost 0.1"),
        ("pytorch", {"pytorch_version": "0.1+cu118"}, "torch==0.1 in"),
        ("sklearn", {"sklearn_version": SKLEARN}, ""),
        ("sklearn", {}, ""),
        ("onnx", {"onnx_version": "0.1"}, ""),
    ],
)
def test_the_versions_that_an_mlmodel_tells(flavor: str, conf: dict[str, str], told: str) -> None:
    with noticed() as notes, warnings.catch_warnings():
        warnings.simplefilter("always")
        warn_of_flavor(flavor, conf)
    assert [told in note for note in notes] == [True] * bool(told)


def test_what_is_pinned_beside_a_model_that_its_own_code_loads(tmp_path: Path) -> None:
    numpy = metadata.version("numpy")
    lines = ["mlflow==0.1", f"numpy=={numpy}", "pandas[all]==0.1 ; python_version > '3'", "scipy>=0.1", "gone-away==7"]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    with noticed() as notes, warnings.catch_warnings():
        warnings.simplefilter("always")
        warn_of_pins(tmp_path)
    assert [note.partition(",")[0].rpartition("with ")[2] for note in notes] == ["pandas 0.1", "gone-away 7"]
    assert "not installed here" in notes[1]


def test_an_mlflow_folder_that_needs_mlflow_tells_its_pins(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {python_function: {loader_module: gone_away_for_good}}")
    (tmp_path / "requirements.txt").write_text("gone-away==7\n")
    with noticed() as notes, warnings.catch_warnings(), pytest.raises(LoadError):
        warnings.simplefilter("always")
        open_model(Loading(tmp_path, pickles=True))
    assert "gone-away 7" in notes[0]


def test_other_warnings_go_where_they_went(recwarn: pytest.WarningsRecorder) -> None:
    with noticed() as notes, warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of something else", stacklevel=1)
        warnings.warn(VersionGapWarning("it", "1", "2"), stacklevel=1)
    assert [note.partition(",")[0] for note in notes] == ["The model was written with it 1"]
    assert [str(one.message) for one in recwarn] == ["of something else"]
