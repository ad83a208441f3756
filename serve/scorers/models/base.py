"""`Model`: something that predicts, loaded from files. Each library's loader is a file of this folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serve.scorers.base import LoadError
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


def named(outputs: Any, name: str = "predict") -> dict[str, np.ndarray]:
    """Outputs as arrays by name."""
    if isinstance(outputs, Mapping):
        return {str(key): np.asarray(value) for key, value in outputs.items()}
    if hasattr(outputs, "columns"):  # a table of pandas
        return {str(column): outputs[column].to_numpy() for column in outputs.columns}
    return {name: np.asarray(outputs)}
