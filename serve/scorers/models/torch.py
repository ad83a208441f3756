"""torch: TorchScript, exported programs, and weights (``state_dict``) of a class that the deployment's code has."""

from __future__ import annotations

import importlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded

# in the words of torch: what came is at fault, and not the model
BAD_INPUT = ("shape", "size", "dimension", "at least", "out of range", "positional argument")


def load(loading: Loading) -> Model:
    import torch

    path = loading.path
    if _is_cut_off(path):
        raise LoadError(f"{path.name} cannot be loaded: its end is missing.", hint="is it whole?")
    if path.suffix == ".pt2":
        # Its weights may be pickles, and the sizes in its graph are texts that Python evaluates.
        loading.unpickles("an exported program of torch")
        return TorchModel(guarded(lambda: torch.export.load(path).module(), path))
    if _is_script(loading):
        read: Any = torch.jit.load  # without types in some versions
        return TorchModel(guarded(lambda: read(path, map_location="cpu").eval(), path))
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


def _is_cut_off(path: Path) -> bool:
    """Whether it begins as an archive of torch and does not end as one. As a pickle it would be of no use, either."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)


def _instance(loading: Loading) -> Any:
    """``options.model_class`` is ``module:Class``; the code's folder is on the path, and that of the weights."""
    sys.path.append(str(loading.path.parent))
    module, _, name = str(loading.options["model_class"]).partition(":")
    arguments = loading.options.get("model_arguments") or {}
    return guarded(lambda: getattr(importlib.import_module(module), name)(**arguments), loading.path)


class TorchModel(Model):
    """Tensors in the order of the module's arguments, or one for its only one."""

    signature = Signature("pytorch", (Field("input", "FP32", (-1,)),), (Field("predict", "FP32", (-1,)),))

    def __init__(self, module: Any) -> None:
        import torch

        self._module = module
        own = (one.dtype for one in module.parameters() if one.dtype.is_floating_point)
        self._floats = next(own, torch.float32)  # what its numbers are; floats of requests become that
        self._wants_floats = False  # learnt: integers of requests become that, too

    def predict(self, inputs: Inputs) -> Any:
        import torch

        arrays = inputs.tensors if inputs.tensors and len(inputs.tensors) > 1 else {"input": inputs.array()}
        tensors = [self._tensor(name, one) for name, one in arrays.items()]
        with torch.inference_mode():
            return _plain(self._called(tensors))

    def _called(self, tensors: list[Any]) -> Any:
        try:
            return self._module(*tensors)
        except (RuntimeError, AssertionError, ValueError, IndexError, TypeError) as error:
            reason = _reason(error)
            whole = any(not one.is_floating_point() for one in tensors)
            if whole and not self._wants_floats and any(word in reason for word in ("dtype", "scalar type", "Float")):
                found = self._module(*[one.to(self._floats) for one in tensors])  # JSON writes 1.0 as 1
                self._wants_floats = True
                return found
            if any(word in reason for word in BAD_INPUT):
                raise InputError(f"The model does not take this input: {reason}") from error
            raise

    def _tensor(self, name: str, array: np.ndarray) -> Any:
        import torch

        if array.dtype.kind not in "biuf":
            raise InputError(f"The tensor '{name}' is of {array.dtype}; the model takes numbers.")
        found = torch.from_numpy(np.array(array))  # a copy: what came over the wire cannot be written to
        return found.to(self._floats) if found.is_floating_point() or self._wants_floats else found


def _reason(error: Exception) -> str:
    """The last line that says something: TorchScript puts its trace before."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error:" in line), lines[0] if lines else type(error).__name__)


def _plain(found: Any) -> Any:
    if isinstance(found, dict):
        return {str(name): _plain(value) for name, value in found.items()}
    if isinstance(found, tuple | list):
        return {f"output_{at}": _plain(value) for at, value in enumerate(found)}
    values = found.detach().cpu()
    return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
