"""ONNX files that are no language models, by ONNX Runtime: tensors by the names of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from serve.scorers.base import InputError
from serve.scorers.inputs import Inputs
from serve.scorers.models.base import Field, Loading, Model, Signature
from serve.scorers.models.pickles import guarded

TYPES = {
    "tensor(float)": ("FP32", "f4"), "tensor(double)": ("FP64", "f8"), "tensor(float16)": ("FP16", "f2"),
    "tensor(int64)": ("INT64", "i8"), "tensor(int32)": ("INT32", "i4"), "tensor(int16)": ("INT16", "i2"),
    "tensor(int8)": ("INT8", "i1"), "tensor(uint8)": ("UINT8", "u1"), "tensor(bool)": ("BOOL", "bool"),
    "tensor(string)": ("BYTES", "O"),
}  # fmt: skip


def load(loading: Loading) -> Model:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(loading.options.get("threads", 0))
    names = ["CPUExecutionProvider"]
    path = str(loading.path)
    return OnnxModel(guarded(lambda: onnxruntime.InferenceSession(path, options, providers=names), loading.path))


class OnnxModel(Model):
    def __init__(self, session: Any) -> None:
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

        self._session, self._refused = session, InvalidArgument
        self._inputs = {one.name: one for one in session.get_inputs()}
        self._outputs = [one.name for one in session.get_outputs()]
        fields = [[_field(one) for one in found] for found in (session.get_inputs(), session.get_outputs())]
        self.signature = Signature("onnx", tuple(fields[0]), tuple(fields[1]))

    def predict(self, inputs: Inputs) -> Any:
        unknown = [name for name in inputs.wanted if name not in self._outputs]
        if unknown:
            raise InputError(f"The model has no output '{unknown[0]}'; it has {', '.join(self._outputs)}.")
        wanted = list(inputs.wanted) or self._outputs
        try:
            found = dict(zip(wanted, self._session.run(wanted, self._feed(inputs)), strict=True))
        except self._refused as error:
            raise InputError(f"The model does not take this input: {str(error).splitlines()[0]}") from error
        # Classifiers of scikit-learn give a list of {label: probability}.
        return {name: value if isinstance(value, np.ndarray | list) else list(value) for name, value in found.items()}

    def _feed(self, inputs: Inputs) -> dict[str, np.ndarray]:
        if len(self._inputs) == 1:
            (name,) = self._inputs
            given = (inputs.tensors or {}).get(name)
            return {name: self._cast(name, self.rows(inputs) if given is None else given)}
        if inputs.tensors is not None:
            found = inputs.named(list(self._inputs))
        else:
            assert inputs.table is not None
            found = {name: inputs.table.array([name], texts=True) for name in self._inputs}
        return {name: self._cast(name, one) for name, one in found.items()}

    def rows(self, inputs: Inputs) -> np.ndarray:
        """One row of a model of rows may come without its own brackets."""
        array = inputs.array(texts=True)
        flat = len(self._inputs) == 1 and len(next(iter(self._inputs.values())).shape) == 2
        return array.reshape(1, -1) if flat and array.ndim == 1 else array

    def _cast(self, name: str, array: np.ndarray) -> np.ndarray:
        wanted = self._inputs[name]
        kind = TYPES.get(wanted.type, ("", ""))[1]
        if array.ndim != len(wanted.shape) or any(
            isinstance(size, int) and size != there for size, there in zip(wanted.shape, array.shape, strict=True)
        ):
            shape = [size if isinstance(size, int) else -1 for size in wanted.shape]
            raise InputError(f"The tensor '{name}' has the shape {list(array.shape)}; the model takes {shape}.")
        if array.dtype.kind == "O" and kind and kind != "O":
            raise InputError(f"The tensor '{name}' holds something else than numbers; the model takes {wanted.type}.")
        try:
            return array.astype(kind, copy=False) if kind else array
        except (ValueError, TypeError) as error:
            raise InputError(f"The tensor '{name}' cannot be made {wanted.type}: {error}") from error


def _field(one: Any) -> Field:
    shape = tuple(size if isinstance(size, int) else -1 for size in one.shape or ())
    return Field(one.name, TYPES.get(one.type, ("BYTES", ""))[0], shape)
