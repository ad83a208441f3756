"""MLflow's folders. The flavours that are known here need no MLflow; any other is left to it, where it is installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded

# flavour -> our loader, and the key of its file
NATIVE = {
    "sklearn": ("serve.scorers.models.sklearn", "pickled_model"),
    "lightgbm": ("serve.scorers.models.lightgbm", "data"),
    "xgboost": ("serve.scorers.models.xgboost", "data"),
    "onnx": ("serve.scorers.models.onnx", "data"),
}
TYPES = {"long": "INT64", "integer": "INT32", "double": "FP64", "float": "FP32", "boolean": "BOOL"}


def load(loading: Loading) -> Model:
    flavors = _flavors(loading.path)
    for name, (module, key) in NATIVE.items():
        file = _file(loading.path, flavors.get(name), key)
        if file is not None:
            inner: Model = importlib.import_module(module).load(Loading(file, loading.pickles, loading.options))
            return inner
    return PyfuncModel(loading)


def _flavors(folder: Path) -> Mapping[str, Any]:
    try:
        told = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        return dict(told["flavors"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise LoadError(f"{folder / 'MLmodel'} cannot be read: {error}") from error


def _file(folder: Path, flavor: Any, key: str) -> Path | None:
    """The file of a flavour inside of the folder, and nowhere else."""
    if not isinstance(flavor, Mapping) or not isinstance(flavor.get(key), str):
        return None
    file = (folder / flavor[key]).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise LoadError(f"The MLmodel of {folder.name} names a file outside of its folder: {flavor[key]}")
    return file if file.is_file() and (file.suffix != ".pkl" or key == "pickled_model") else None


class PyfuncModel(Model):
    """What ``mlflow.pyfunc`` loads. It runs code of the folder, and so needs the user's word."""

    def __init__(self, loading: Loading) -> None:
        loading.unpickles("an MLflow model that its own code loads")
        try:
            pyfunc = importlib.import_module("mlflow.pyfunc")
        except ImportError as error:
            raise LoadError(
                f"{loading.path.name} needs MLflow to be loaded.", hint="add 'mlflow' to the deployment's environment"
            ) from error
        self._model = guarded(lambda: pyfunc.load_model(str(loading.path)), loading.path)
        schema = self._model.metadata.get_input_schema()
        self._columns = tuple(schema.input_names()) if schema is not None and schema.has_input_names() else ()
        kinds = [str(kind) for kind in schema.input_types()] if schema is not None else []
        fields = [
            Field(name, TYPES.get(kind, "BYTES"), (-1, 1)) for name, kind in zip(self._columns, kinds, strict=False)
        ]
        self.signature = Signature("mlflow", tuple(fields))

    def predict(self, inputs: Inputs) -> Any:
        data = inputs.frame() if inputs.table is not None else dict(inputs.tensors or {})
        if isinstance(data, dict) and list(data) == [""]:
            data = data[""]
        from mlflow.exceptions import MlflowException

        try:
            return self._model.predict(data, **({"params": dict(inputs.params)} if inputs.params else {}))
        except MlflowException as error:
            if "schema" in str(error) or "column" in str(error):
                raise InputError(str(error)) from error
            raise
