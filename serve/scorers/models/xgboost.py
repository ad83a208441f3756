"""XGBoost's own files: JSON or UBJSON."""

from __future__ import annotations

from typing import Any

from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature, as_rows
from serve.scorers.models.pickles import guarded


def load(loading: Loading) -> Model:
    from xgboost import Booster

    return BoosterModel(guarded(lambda: Booster(model_file=str(loading.path)), loading.path))


class BoosterModel(Model):
    def __init__(self, booster: Any) -> None:
        self._booster = booster
        self._columns = tuple(booster.feature_names or ())
        self._width = int(booster.num_features())
        fields = tuple(Field(name, "FP32", (-1, 1)) for name in self._columns)
        self.signature = Signature("xgboost", fields or (Field("input", "FP32", (-1, self._width)),))

    def predict(self, inputs: Inputs) -> Any:
        return self._booster.inplace_predict(self.rows(inputs), validate_features=False)

    def rows(self, inputs: Inputs) -> Any:
        return as_rows(inputs.array(self._columns), self._width)
