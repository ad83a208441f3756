"""Files of a model -> `Model`. What a file is, its name and first bytes tell; its library is imported then."""

from __future__ import annotations

import importlib
from pathlib import Path

from serve.scorers.base import LoadError
from serve.scorers.models.base import Loading, Model

MLMODEL = "MLmodel"
LOADERS = {
    "mlflow": "serve.scorers.models.mlflow",
    "sklearn": "serve.scorers.models.sklearn",
    "torch": "serve.scorers.models.torch",
    "onnx": "serve.scorers.models.onnx",
    "lightgbm": "serve.scorers.models.lightgbm",
    "xgboost": "serve.scorers.models.xgboost",
}
SUFFIXES = {
    ".pkl": "sklearn", ".pickle": "sklearn", ".joblib": "sklearn", ".sav": "sklearn", ".skops": "sklearn",
    ".onnx": "onnx", ".pt": "torch", ".pth": "torch", ".ts": "torch", ".pt2": "torch", ".lgb": "lightgbm",
    ".ubj": "xgboost", ".xgb": "xgboost", ".bst": "xgboost",
}  # fmt: skip


def open_model(loading: Loading) -> Model:
    """The model in a file, or in a folder that holds one, loaded."""
    path = the_file(loading.path)
    kind = str(loading.options.get("flavor") or kind_of(path))
    if kind not in LOADERS:
        raise LoadError(f"'{kind}' is no kind of model that can be loaded here; known are {', '.join(LOADERS)}.")
    module = importlib.import_module(LOADERS[kind])
    model: Model = module.load(Loading(path, loading.pickles, loading.options))
    return model


def kind_of(path: Path) -> str:
    """``sklearn``, ``torch``, … LoadError where nothing tells."""
    if kind := _kind(path):
        return kind
    raise LoadError(
        f"It cannot be told what kind of model {path.name} is.",
        hint="name it in `options: {flavor: sklearn}`, or bring a score.py that loads it",
    )


def _kind(path: Path) -> str:
    if path.is_dir():
        return "mlflow" if (path / MLMODEL).is_file() else ""
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"tree\n"):
        return "lightgbm"
    return "xgboost" if b'"learner"' in head or head.startswith(b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner") else ""


def the_file(path: Path) -> Path:
    """``path``, or the one file in a folder that holds a model; an MLflow folder stays itself."""
    if not path.exists():
        raise LoadError(f"The model {path} is not there.")
    inner = path
    while inner.is_dir() and not (inner / MLMODEL).is_file():
        entries = [one for one in inner.iterdir() if not one.name.startswith(".")]
        known = [one for one in entries if _kind(one)]
        if len(known) == 1:
            inner = known[0]
        elif len(entries) == 1:
            inner = entries[0]
        else:
            names = ", ".join(sorted(one.name for one in entries)[:10]) or "nothing"
            raise LoadError(f"{path.name} holds {names}: it cannot be told which is the model.")
    return inner
