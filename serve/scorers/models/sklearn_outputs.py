"""What an estimator gives, as far as it tells before it is asked: its methods' outputs, their types and widths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serve.scorers.datatypes import datatype_of
from serve.scorers.models.base import Field

PROBABILITIES = ("predict_proba", "predict_log_proba")


def outputs_of(estimator: Any, methods: Sequence[str]) -> tuple[Field, ...]:
    """Those of ``methods`` of which it is known."""
    last = _last(estimator)
    # XGBoost computes in single precision, whatever it gets.
    floats = "FP32" if type(last).__module__.startswith("xgboost") else "FP64"
    fields = (_output(last, method, floats) for method in methods if hasattr(estimator, method))
    return tuple(field for field in fields if field is not None)


def _last(estimator: Any) -> Any:
    """What predicts in the end: the last step of a pipeline, the best of a search."""
    for _ in range(8):
        if steps := getattr(estimator, "steps", None):
            estimator = steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            break
    return estimator


def _output(estimator: Any, method: str, floats: str) -> Field | None:
    try:
        return _told(estimator, method, floats)
    except Exception:  # what it tells may be computed, by code that fails; that is not to keep it from being loaded
        return None


def _told(estimator: Any, method: str, floats: str) -> Field | None:
    classes = getattr(estimator, "classes_", None)
    if method == "predict":
        return _prediction(estimator, classes, floats)
    if method in PROBABILITIES and isinstance(classes, np.ndarray):
        return Field(method, floats, (-1, len(classes)))
    if method == "decision_function" and isinstance(classes, np.ndarray):
        return Field(method, floats, (-1,) if len(classes) == 2 else (-1, -1))
    if method == "transform" and hasattr(estimator, "_n_features_out"):
        return Field(method, floats, (-1, int(estimator._n_features_out)))
    return None


def _prediction(estimator: Any, classes: Any, floats: str) -> Field | None:
    kind = getattr(estimator, "_estimator_type", None) or _kind(estimator)
    if isinstance(classes, np.ndarray):
        return Field("predict", datatype_of(classes.dtype), (-1,))
    if kind == "regressor":
        width = _targets(estimator)
        return Field("predict", floats, (-1, width) if width > 1 else (-1,))
    if kind == "clusterer" and hasattr(estimator, "labels_"):
        return Field("predict", datatype_of(estimator.labels_.dtype), (-1,))
    return Field("predict", "INT64", (-1,)) if kind == "outlier_detector" else None


def _kind(estimator: Any) -> str | None:
    """scikit-learn's word for it since 1.6."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    kind: str | None = tags().estimator_type if tags is not None else None
    return kind


def _targets(estimator: Any) -> int:
    """How many numbers a regressor gives a row."""
    if (found := getattr(estimator, "n_outputs_", None)) is not None:
        return int(found)
    coefficients = getattr(estimator, "coef_", None)
    if coefficients is not None and np.ndim(coefficients) == 2:
        return int(np.shape(coefficients)[0])
    return len(getattr(estimator, "estimators_", ())) if type(estimator).__name__ == "MultiOutputRegressor" else 1
