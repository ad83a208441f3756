"""LightGBM's own text files."""

from __future__ import annotations

from typing import Any

from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature, as_rows
from serve.scorers.models.pickles import guarded


def load(loading: Loading) -> Model:
    from lightgbm import Booster

    return BoosterModel(guarded(lambda: Booster(model_file=str(loading.path)), loading.path))


class BoosterModel(Model):
    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self._columns = tuple(booster.feature_name())
        # Column_0, Column_1, … is what LightGBM calls columns that had no names: they are those of nobody's table.
        self._named = self._columns != tuple(f"Column_{at}" for at in range(len(self._columns)))
        width = len(self._columns)
        fields = tuple(Field(name, "FP64", (-1, 1)) for name in self._columns)
        classes = booster.num_model_per_iteration()
        output = Field("predict", "FP64", (-1, classes) if classes > 1 else (-1,))
        inputs = fields if self._named else (Field("input", "FP64", (-1, width)),)
        self.signature = Signature("lightgbm", inputs, (output,))

    def predict(self, inputs: Inputs) -> Any:
        return self._booster.predict(self.rows(inputs))

    def rows(self, inputs: Inputs) -> Any:
        return as_rows(inputs.array(self._columns if self._named else ()), len(self._columns))
