"""LightGBM's own text files."""

from __future__ import annotations

from typing import Any

from serve.scorers.base import InputError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded


def load(loading: Loading) -> Model:
    from lightgbm import Booster

    return BoosterModel(guarded(lambda: Booster(model_file=str(loading.path)), loading.path))


class BoosterModel(Model):
    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self._columns = tuple(booster.feature_name())
        self.signature = Signature("lightgbm", tuple(Field(name, "FP64", (-1, 1)) for name in self._columns))

    def predict(self, inputs: Inputs) -> Any:
        named = inputs.table is None or inputs.table.columns
        array = inputs.array(self._columns if named else ())
        if array.ndim != 2 or array.shape[1] != len(self._columns):
            raise InputError(f"The input has the shape {list(array.shape)}; rows have {len(self._columns)} values.")
        return self._booster.predict(array)
