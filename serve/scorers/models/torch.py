"""torch: TorchScript, exported programs, and weights (``state_dict``) of a class that the deployment's code has."""

from __future__ import annotations

import importlib
import zipfile
from typing import Any

import numpy as np

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded


def load(loading: Loading) -> Model:
    import torch

    path = loading.path
    if path.suffix == ".pt2":
        return TorchModel(guarded(lambda: torch.export.load(path).module(), path))
    if _is_script(loading):
        return TorchModel(guarded(lambda: torch.jit.load(path, map_location="cpu").eval(), path))  # type: ignore[no-untyped-call]
    if "model_class" in loading.options:
        module = _instance(loading)
        weights = guarded(lambda: torch.load(path, map_location="cpu", weights_only=True), path)
        guarded(lambda: module.load_state_dict(weights), path)
        return TorchModel(module.eval())
    loading.unpickles("a whole module as a pickle")
    found = guarded(lambda: torch.load(path, map_location="cpu", weights_only=False), path)
    if not isinstance(found, torch.nn.Module):
        raise LoadError(
            f"{path.name} holds weights without their class.",
            hint="options: {model_class: 'module:Class', model_arguments: {…}}, with the module in the code's folder",
        )
    return TorchModel(found.eval())


def _is_script(loading: Loading) -> bool:
    if not zipfile.is_zipfile(loading.path):
        return False
    with zipfile.ZipFile(loading.path) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())


def _instance(loading: Loading) -> Any:
    """``options.model_class`` is ``module:Class``; the code's folder is on the path."""
    module, _, name = str(loading.options["model_class"]).partition(":")
    arguments = loading.options.get("model_arguments") or {}
    return guarded(lambda: getattr(importlib.import_module(module), name)(**arguments), loading.path)


class TorchModel(Model):
    """Tensors in the order of the module's arguments, or one for its only one. Floats are float32, as torch's are."""

    signature = Signature("pytorch", (Field("input", "FP32", (-1,)),), (Field("predict", "FP32", (-1,)),))

    def __init__(self, module: Any) -> None:
        self._module = module

    def predict(self, inputs: Inputs) -> Any:
        import torch

        if inputs.tensors is not None and len(inputs.tensors) > 1:
            tensors = [_tensor(name, one) for name, one in inputs.tensors.items()]
        else:
            tensors = [_tensor("input", inputs.array())]
        with torch.inference_mode():
            try:
                found = self._module(*tensors)
            except (RuntimeError, AssertionError, ValueError) as error:
                if "shape" in str(error) or "size" in str(error) or "dimension" in str(error):
                    raise InputError(f"The model does not take this input: {str(error).splitlines()[0]}") from error
                raise
        return _plain(found)


def _tensor(name: str, array: np.ndarray) -> Any:
    import torch

    if array.dtype.kind not in "biuf":
        raise InputError(f"The tensor '{name}' is of {array.dtype}; the model takes numbers.")
    return torch.from_numpy(np.array(array, dtype=np.float32 if array.dtype == np.float64 else array.dtype))


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, tuple | list):
        return {f"output_{at}": _plain(value) for at, value in enumerate(found)}
    return found.detach().cpu().numpy()
