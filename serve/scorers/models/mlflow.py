"""MLflow's folders. The flavours that are known here need no MLflow; any other is left to it, where it is installed."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from serve.scorers.base import InputError, LoadError
from serve.scorers.gaps import warn_of_flavor, warn_of_pins
from serve.scorers.inputs import Inputs
from serve.scorers.models import lightgbm, onnx, sklearn, torch, xgboost
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded
from serve.scorers.models.signature import Schema, read_outputs, read_schema

BAD = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # MLflow's codes for what a caller did wrong
Conf = Mapping[str, Any]


def load(loading: Loading) -> Model:
    told = _told(loading.path)
    flavors = told["flavors"]
    for name, (key, read) in NATIVE.items():
        conf = flavors.get(name)
        if isinstance(conf, dict) and (file := _file(loading.path, conf.get(key))) is not None:
            python = flavors.get("python_function")
            inner = read(replace(loading, path=file), {**(python if isinstance(python, dict) else {}), **conf})
            if inner is not None:
                warn_of_flavor(name, conf)
                return SignedModel(inner, read_schema(told), read_outputs(told))
    return PyfuncModel(loading)


def _told(folder: Path) -> dict[str, Any]:
    try:
        told = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        return {**told, "flavors": dict(told["flavors"])}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{folder / 'MLmodel'} cannot be read: {error}") from error


def _file(folder: Path, name: Any) -> Path | None:
    """The file of a flavour inside of the folder, and nowhere else."""
    if not isinstance(name, str):
        return None
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise LoadError(f"The MLmodel of {folder.name} names a file outside of its folder: {name}")
    if not file.exists():
        raise LoadError(f"The MLmodel of {folder.name} names {name}, which is not there.")
    return file


def _sklearn(loading: Loading, conf: Conf) -> Model:
    options = {**loading.options, "predict_fn": conf.get("predict_fn", "predict")}
    return sklearn.load(replace(loading, options=options))


def _lightgbm(loading: Loading, conf: Conf) -> Model:
    """Boosters are texts; models with scikit-learn's face are files of its."""
    return _sklearn(loading, {}) if loading.path.suffix in (".pkl", ".skops") else lightgbm.load(loading)


def _xgboost(loading: Loading, conf: Conf) -> Model:
    """With the class that it was saved from: a classifier tells labels, its booster probabilities."""
    module, _, name = str(conf.get("model_class") or "xgboost.core.Booster").rpartition(".")
    if name == "Booster" or module.partition(".")[0] != "xgboost":
        return xgboost.load(loading)

    def read() -> Any:
        found = getattr(importlib.import_module(module), name)()
        found.load_model(str(loading.path))
        return found

    return sklearn.SklearnModel(guarded(read, loading.path))


def _onnx(loading: Loading, conf: Conf) -> Model:
    return Tabled(onnx.load(loading))


def _torch(loading: Loading, conf: Conf) -> Model | None:
    file = loading.path / "model.pth" if loading.path.is_dir() else loading.path
    return Tabled(torch.load(replace(loading, path=file))) if file.is_file() else None


# flavour -> the key of its file, and what loads it
NATIVE: Mapping[str, tuple[str, Callable[[Loading, Conf], Model | None]]] = {
    "sklearn": ("pickled_model", _sklearn),
    "lightgbm": ("data", _lightgbm),
    "xgboost": ("data", _xgboost),
    "onnx": ("data", _onnx),
    "pytorch": ("model_data", _torch),
}


class SignedModel(Model):
    """A model that gets what its signature says."""

    def __init__(self, inner: Model, schema: Schema, outputs: tuple[Field, ...] = ()) -> None:
        self._inner, self._schema = inner, schema
        known = tuple(one.field for one in schema.columns)
        told = inner.signature
        self.signature = Signature(told.platform, known or told.inputs, told.outputs or outputs)

    def predict(self, inputs: Inputs) -> Any:
        return self._inner.predict(self._schema.apply(inputs))

    def rows(self, inputs: Inputs) -> np.ndarray:
        return self._inner.rows(self._schema.apply(inputs))


class Tabled(Model):
    """A model of tensors that answers a table with a table, as MLflow has it."""

    def __init__(self, inner: Model) -> None:
        self._inner, self.signature = inner, inner.signature

    def predict(self, inputs: Inputs) -> Any:
        found = self._inner.predict(inputs)
        return _table(found) if inputs.table is not None and inputs.table.columns else found

    def rows(self, inputs: Inputs) -> np.ndarray:
        return self._inner.rows(inputs)


def _table(outputs: Any) -> Any:
    import pandas

    if isinstance(outputs, Mapping):
        return pandas.DataFrame({name: np.asarray(value).reshape(-1) for name, value in outputs.items()})
    return pandas.DataFrame(outputs)


class PyfuncModel(Model):
    """What ``mlflow.pyfunc`` loads. It runs code of the folder, and so needs the user's word."""

    def __init__(self, loading: Loading) -> None:
        loading.unpickles("an MLflow model that its own code loads")
        warn_of_pins(loading.path)
        try:
            pyfunc = importlib.import_module("mlflow.pyfunc")
        except ImportError as error:
            raise LoadError(
                f"{loading.path.name} needs MLflow to be loaded.", hint="add 'mlflow' to the deployment's environment"
            ) from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = guarded(lambda: pyfunc.load_model(str(loading.path)), loading.path)
        told = _told(loading.path)
        self._schema = read_schema(told)
        self.signature = Signature("mlflow", tuple(one.field for one in self._schema.columns), read_outputs(told))

    def predict(self, inputs: Inputs) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._model.predict(self._data(inputs), params=dict(inputs.params) or None)
        except MlflowException as error:
            if error.error_code in BAD:
                raise InputError(str(error)) from error
            raise

    def _data(self, inputs: Inputs) -> Any:
        if inputs.table is not None:
            return self._schema.apply(inputs).frame() if self._schema.columns else inputs.frame()
        tensors = dict(inputs.tensors or {})
        return tensors[""] if list(tensors) == [""] else tensors
