"""XGBoost's own files: JSON or UBJSON."""

from __future__ import annotations

import json
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
        inputs = fields or (Field("input", "FP32", (-1, self._width)),)
        self.signature = Signature("xgboost", inputs, (Field("predict", "FP32", _shape(booster)),))

    def predict(self, inputs: Inputs) -> Any:
        return self._booster.inplace_predict(self.rows(inputs), validate_features=False)

    def rows(self, inputs: Inputs) -> Any:
        return as_rows(inputs.array(self._columns), self._width)


def _shape(booster: Any) -> tuple[int, ...]:
    """A number a row; with several classes or targets one for each, unless the model picks the class itself."""
    learner = json.loads(booster.save_config())["learner"]
    if learner["objective"]["name"] == "multi:softmax":
        return (-1,)
    told = learner["learner_model_param"]
    width = max(int(told.get("num_class", 0)), int(told.get("num_target", 1)))
    return (-1, width) if width > 1 else (-1,)
