"""Environments that Azure ML has by name, as requirements: what their images bring that a score.py imports."""

from __future__ import annotations

import re

from promptflow.exceptions import ValidationException
from serve.environments.conda import Packages

_BASE = ("inference-schema", "numpy", "pandas")
_SKLEARN = (*_BASE, "scikit-learn", "joblib", "scipy")
# what the names begin with, longest first; their versions of packages are those of today, where today's Python has none
KNOWN = {
    "sklearn": _SKLEARN,
    "lightgbm": (*_SKLEARN, "lightgbm"),
    "xgboost": (*_SKLEARN, "xgboost-cpu"),
    "responsibleai": _SKLEARN,
    "mlflow": (*_SKLEARN, "mlflow-skinny"),
    "onnxruntime": (*_BASE, "onnxruntime"),
    "pytorch": (*_BASE, "torch"),
    "acpt": (*_BASE, "torch"),
    "tensorflow": (*_BASE, "tensorflow-cpu"),
    "minimal": _BASE,
    "python-sdk": _BASE,
    "inference": _BASE,
    "foundation-model-inference": (*_BASE, "transformers", "torch"),
}
_PREFIX = re.compile(r"^(azureml[:/-])?(azureml-)?", re.IGNORECASE)


def from_curated(name: str) -> Packages:
    """By the name without registry, version and label. ValidationException if it is not known."""
    short = _PREFIX.sub("", name.strip()).lower()
    for known in sorted(KNOWN, key=len, reverse=True):
        if short.startswith(known):
            note = f"the environment {name} is made of today's packages: {', '.join(KNOWN[known])}"
            return Packages(KNOWN[known], notes=(note,))
    raise ValidationException(
        f"The environment '{name}' is not known here.",
        hint=f"give a conda_file, or a name that begins with {', '.join(sorted(KNOWN))}",
    )
