"""scikit-learn: joblib, pickle or skops files of anything that has a ``predict``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature, as_rows
from serve.scorers.models.pickles import read_pickle
from serve.scorers.models.sklearn_outputs import outputs_of
from serve.scorers.models.skops import read_skops

OUTPUTS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")
NAMED = frozenset(("ColumnTransformer", "FunctionTransformer"))  # of scikit-learn: they look columns up by name
DEPTH = 8  # of estimators in estimators that are looked into


def load(loading: Loading) -> Model:
    found = read_skops(loading) if loading.path.suffix == ".skops" else read_pickle(loading)
    return SklearnModel(found, str(loading.options.get("predict_fn") or "predict"))


class SklearnModel(Model):
    """``estimator`` has a ``predict``, or ``usual`` is what it has. Columns come in the order that it was fitted
    with."""

    def __init__(self, estimator: Any, usual: str = "predict") -> None:
        # Arrays without names are what is given on purpose, below; the filter is set once, as it is the process's.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        if not hasattr(estimator, usual):
            raise LoadError(f"The model is a {type(estimator).__name__}, which has no {usual}().")
        self._estimator, self._usual = estimator, usual
        self._columns = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
        self._width = int(getattr(estimator, "n_features_in_", 0) or len(self._columns))
        self._wants_names = not _all_plain(estimator, DEPTH)
        fields = tuple(Field(name, "FP64", (-1, 1)) for name in self._columns)
        outputs = outputs_of(estimator, tuple(dict.fromkeys((usual, *OUTPUTS))))
        self.signature = Signature("sklearn", fields or (Field("input", "FP64", (-1, self._width or -1)),), outputs)

    def predict(self, inputs: Inputs) -> Any:
        data = self._data(inputs)
        if not inputs.wanted:
            return self._told(self._usual, data)
        return {name: np.asarray(self._told(name, data)) for name in inputs.wanted}

    def rows(self, inputs: Inputs) -> Any:
        """Texts are left as they are: it is up to the estimator to take them."""
        array = inputs.array(self._columns, texts=True)
        if not self._width and array.ndim == 2 and array.shape[1] == 1 and array.dtype == object:
            return array[:, 0]  # readers of documents take a list of them
        return as_rows(array, self._width)

    def _told(self, name: str, data: Any) -> Any:
        method = getattr(self._estimator, name, None) if name in (*OUTPUTS, self._usual) else None
        if method is None:
            there = [known for known in OUTPUTS if hasattr(self._estimator, known)]
            raise InputError(f"The model has no output '{name}'; it has {', '.join(there)}.")
        try:
            return method(data)
        except (ValueError, TypeError) as error:  # scikit-learn's word for data of a wrong type, shape, or missing
            raise InputError(f"The model does not take this input: {str(error).splitlines()[0]}") from error

    def _data(self, inputs: Inputs) -> Any:
        named = bool(self._columns) or (inputs.table is not None and bool(inputs.table.columns))
        return inputs.frame(self._columns) if self._wants_names and named else self.rows(inputs)


def _all_plain(estimator: Any, depth: int) -> bool:
    """Whether it is scikit-learn's own all through, and no part of it looks columns up by name."""
    kind = type(estimator)
    if not kind.__module__.startswith("sklearn.") or kind.__name__ in NAMED or not depth:
        return False
    return all(_all_plain(part, depth - 1) for part in _parts(vars(estimator).values()))


def _parts(values: Any) -> Iterator[Any]:
    """The estimators among ``values``, and in their lists."""
    for value in values:
        if hasattr(value, "get_params") and not isinstance(value, type):
            yield value
        elif isinstance(value, list | tuple):
            yield from _parts(value)
        elif isinstance(value, dict):
            yield from _parts(value.values())
