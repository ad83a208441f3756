"""`Model`: something that predicts, loaded from files. Each library's loader is a file of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serve.scorers.base import InputError, LoadError
from serve.scorers.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Field:
    """An input or output: its name, its type in the words of the Open Inference Protocol, its shape (-1: any)."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, as far as its files tell."""

    platform: str
    inputs: tuple[Field, ...] = ()
    outputs: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Loading:
    """``pickles``: the user's word that code in the files may run; ``options`` are the deployment's."""

    path: Path
    pickles: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def unpickles(self, what: str) -> None:
        """LoadError, unless the user allows what runs code of the file."""
        if not self.pickles:
            raise LoadError(
                f"{self.path.name} is {what}, which can run any code when it is loaded.",
                hint="set `allow_pickle: true` in the deployment if you trust the file, or save it in another format",
            )


class Model(ABC):
    """``predict`` may be called from several threads at once."""

    signature: Signature

    @abstractmethod
    def predict(self, inputs: Inputs) -> Any:
        """An array, a table, a list, or arrays by name. InputError where the inputs are not what it takes."""

    def rows(self, inputs: Inputs) -> np.ndarray:
        """The inputs as the one array that batches are made of: its first axis are rows."""
        fields = self.signature.inputs
        array = inputs.array([one.name for one in fields] if len(fields) > 1 else ())
        if array.ndim == 0:
            raise InputError("The input is a single value, and a batch is made of rows.")
        return array


def as_rows(array: np.ndarray, width: int) -> np.ndarray:
    """Rows of ``width`` values (0: of any number); one row may come without its own brackets. InputError where they
    are of another shape."""
    if array.ndim < 2 and width:
        array = array.reshape(1, -1) if array.size == width else array.reshape(-1, 1)
    if array.ndim == 2 and not len(array):
        raise InputError("The input has no rows.")
    if width and (array.ndim != 2 or array.shape[1] != width):
        found = f"{array.shape[1]} values" if array.ndim == 2 else f"the shape {list(array.shape[1:])}"
        raise InputError(f"The rows have {found}, and the model takes {width}.")
    return array


def named(outputs: Any, name: str = "predict") -> dict[str, np.ndarray]:
    """Outputs as arrays by name."""
    if isinstance(outputs, Mapping):
        return {str(key): np.asarray(value) for key, value in outputs.items()}
    if hasattr(outputs, "columns"):  # a table of pandas
        return {str(column): outputs[column].to_numpy() for column in outputs.columns}
    return {name: np.asarray(outputs)}
