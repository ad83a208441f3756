"""What an instance imports, and looks through, before it is ready."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from serve.endpoints.spec import SCRIPT, Spec
from serve.scorers.base import LoadError
from serve.scorers.models import skops
from serve.scorers.models.base import Loading
from serve.scorers.models.pickles import guarded
from tests.serve.scorers.workers import worker

COLLECTS = """
import gc
def init():
    global before
    before = gc.get_freeze_count()
def run(raw):
    return {"before": before, "now": gc.get_freeze_count(), "threshold": gc.get_threshold()[0]}
"""
LOADS = """
import sys
from pathlib import Path
from serve.scorers.models.base import Loading
from serve.scorers.models.skops import read_skops
print(type(read_skops(Loading(Path(sys.argv[1])))).__name__)
print(*(name for name in ("torch", "sklearn.utils._testing", "sklearn.gaussian_process") if name in sys.modules))
"""


@pytest.fixture
def skops_file(tmp_path: Path) -> Path:
    io = pytest.importorskip("skops.io")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit([[1.0], [2.0]], [0, 1])
    io.dump(model, tmp_path / "model.skops")
    return tmp_path / "model.skops"


def test_a_skops_file_brings_the_modules_that_it_names_and_not_all_of_scikit_learn(skops_file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LOADS, str(skops_file)], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["Pipeline", ""], done.stderr


def test_skops_is_told_of_no_type_that_it_would_not_find_by_itself() -> None:
    pytest.importorskip("sklearn")
    import sklearn.utils

    every = {kind for _, kind in sklearn.utils.all_estimators()}
    named = {(kind.__module__, kind.__name__) for kind in every}
    assert {*skops._estimators(named)} <= every
    assert len({*skops._estimators(named)}) > len(every) * 0.9
    others = [
        ("sklearn.base", "BaseEstimator"), ("sklearn.utils._testing", "MinimalClassifier"), ("os", "system"),
        ("sklearn.externals.array_api_compat", "x"), ("sklearn.linear_model._logistic", "LinearClassifierMixin"),
        ("sklearn.pipeline", "LogisticRegression"), ("sklearn.linear_model._base", "LinearModel"),
    ]  # fmt: skip
    assert [*skops._estimators({*others})] == []


def test_types_that_only_skops_knows_to_be_safe_are_found_when_the_first_look_did_not(
    skops_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the list of an earlier file is not enough for the next one of the same process."""
    skops._by_itself()
    monkeypatch.setattr("sklearn.utils.all_estimators", list)
    known = skops._by_itself()
    assert known.get_untrusted_types(file=skops_file)
    monkeypatch.undo()
    assert type(skops.read_skops(Loading(skops_file))).__name__ == "Pipeline"


def test_types_of_nobody_are_still_refused(tmp_path: Path) -> None:
    io = pytest.importorskip("skops.io")
    from sklearn.preprocessing import FunctionTransformer

    io.dump(FunctionTransformer(Path.exists), tmp_path / "model.skops")
    with pytest.raises(LoadError, match="nobody has said to be trusted: pathlib"):
        skops.read_skops(Loading(tmp_path / "model.skops"))


def test_a_skops_file_without_a_schema_is_told(tmp_path: Path) -> None:
    pytest.importorskip("skops.io")
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(LoadError, match=r"model\.skops cannot be loaded"):
        skops.read_skops(Loading(tmp_path / "model.skops"))


def test_what_a_library_tells_of_its_own_stack_is_left_out(tmp_path: Path) -> None:
    def read() -> None:
        raise ValueError("Invalid file.\nStack trace:\n  [bt] (0) lib.so(+0x1)")

    with pytest.raises(LoadError) as caught:
        guarded(read, tmp_path / "model.ubj")
    assert caught.value.message == "model.ubj cannot be loaded: ValueError: Invalid file."


def test_what_is_imported_is_not_looked_through_for_garbage(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(COLLECTS)
    with worker(tmp_path / "w", Spec(SCRIPT, code=tmp_path / "code", scoring_script="score.py")) as blue:
        told = blue.score({}).json()
    assert 10_000 < told["before"] < told["now"] and told["threshold"] == 10_000
