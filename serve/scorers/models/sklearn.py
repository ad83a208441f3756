"""scikit-learn: joblib, pickle or skops files of anything that has a ``predict``."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from serve.scorers.base import InputError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded, read_pickle

OUTPUTS = ("predict", "predict_proba", "decision_function", "transform")


def load(loading: Loading) -> Model:
    found = _read_skops(loading) if loading.path.suffix == ".skops" else read_pickle(loading)
    return SklearnModel(found)


def _read_skops(loading: Loading) -> Any:
    """Without code, but for types that the user trusts: ``options: {trusted: [module.Class, …]}``."""
    from skops.io import load as read

    return guarded(lambda: read(loading.path, trusted=list(loading.options.get("trusted") or ())), loading.path)


class SklearnModel(Model):
    """``estimator`` has a ``predict``. Columns come in the order that it was fitted with."""

    def __init__(self, estimator: Any) -> None:
        # Arrays without names are what is given on purpose, below; the filter is set once, as it is the process's.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        self._estimator = estimator
        self._columns = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
        self._width = int(getattr(estimator, "n_features_in_", 0) or len(self._columns))
        self._by_name = _picks_columns(estimator)
        fields = tuple(Field(name, "FP64", (-1, 1)) for name in self._columns)
        self.signature = Signature("sklearn", fields or (Field("input", "FP64", (-1, self._width or -1)),))

    def predict(self, inputs: Inputs) -> Any:
        data = self._data(inputs)
        if not inputs.wanted:
            return self._estimator.predict(data)
        return {name: np.asarray(self._method(name)(data)) for name in inputs.wanted}

    def _method(self, name: str) -> Any:
        method = getattr(self._estimator, name, None) if name in OUTPUTS else None
        if method is None:
            there = [known for known in OUTPUTS if hasattr(self._estimator, known)]
            raise InputError(f"The model has no output '{name}'; it has {', '.join(there)}.")
        return method

    def _data(self, inputs: Inputs) -> Any:
        if self._by_name:
            return inputs.frame(self._columns)
        array = inputs.array(self._columns)
        if array.ndim == 1 and self._width:
            array = array.reshape(1, -1) if array.size == self._width else array.reshape(-1, 1)
        if self._width and array.ndim == 2 and array.shape[1] != self._width:
            raise InputError(f"The rows have {array.shape[1]} values, and the model takes {self._width}.")
        return array


def _picks_columns(estimator: Any) -> bool:
    """Whether a step of it looks columns up by name, and so needs a table."""
    compose = sys.modules.get("sklearn.compose")
    steps = [step for _, step in getattr(estimator, "steps", ())] or [estimator]
    return compose is not None and any(isinstance(step, compose.ColumnTransformer) for step in steps)
