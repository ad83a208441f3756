"""What a model gets: a `Table` of named columns, or tensors by name. The dialects make them, the models take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve.scorers.base import InputError

Tensors = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells as they came. ``columns`` is empty where nobody named them; ``index`` where it is 0, 1, 2, …"""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    index: Sequence[Any] = ()

    def array(self, wanted: Sequence[str] = ()) -> np.ndarray:
        """Rows x columns as numbers; with ``wanted`` those columns in that order, where the table names its own."""
        rows = self.rows if not wanted or not self.columns else self._ordered(wanted)
        return numbers(rows)

    def frame(self, wanted: Sequence[str] = ()) -> Any:
        """The same as a pandas table."""
        import pandas

        columns = list(self.columns) or list(wanted) or None
        frame = pandas.DataFrame(self.rows, columns=columns, index=list(self.index) or None)
        return frame[list(wanted)] if wanted and self.columns and self._check(wanted) else frame

    def _ordered(self, wanted: Sequence[str]) -> Sequence[Sequence[Any]]:
        self._check(wanted)
        if tuple(wanted) == self.columns:
            return self.rows
        places = [self.columns.index(name) for name in wanted]
        return [[row[place] for place in places] for row in self.rows]

    def _check(self, wanted: Sequence[str]) -> bool:
        missing = [name for name in wanted if name not in self.columns]
        if missing:
            raise InputError(
                f"The input has no column '{missing[0]}'; the model takes {', '.join(wanted)}.",
                hint=f"it has {', '.join(self.columns)}",
            )
        return True


@dataclass(frozen=True, slots=True)
class Inputs:
    """Either ``table`` or ``tensors``; ``params`` are the caller's words to the model; ``wanted`` are names of outputs,
    empty for the model's usual ones."""

    table: Table | None = None
    tensors: Tensors | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()

    def array(self, columns: Sequence[str] = ()) -> np.ndarray:
        """All of it as one array; ``columns`` are the model's own names, in its order."""
        if self.table is not None:
            return self.table.array(columns)
        assert self.tensors is not None
        if len(self.tensors) == 1:
            return next(iter(self.tensors.values()))
        return np.stack([_flat(name, one) for name, one in self._named(columns).items()], axis=1)

    def frame(self, columns: Sequence[str] = ()) -> Any:
        """All of it as a pandas table."""
        if self.table is not None:
            return self.table.frame(columns)
        import pandas

        assert self.tensors is not None
        if len(self.tensors) == 1:
            (array,) = self.tensors.values()
            if array.ndim == 2:
                return pandas.DataFrame(array, columns=list(columns) or None)
        return pandas.DataFrame({name: _flat(name, one) for name, one in self._named(columns).items()})

    def _named(self, columns: Sequence[str]) -> Tensors:
        assert self.tensors is not None
        if not columns:
            return self.tensors
        missing = [name for name in columns if name not in self.tensors]
        if missing:
            raise InputError(f"The input has no tensor '{missing[0]}'; the model takes {', '.join(columns)}.")
        return {name: self.tensors[name] for name in columns}


def numbers(rows: Any) -> np.ndarray:
    """Nested lists as an array of numbers. InputError says where they are uneven, or hold something else."""
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise InputError(f"The rows are not of the same shape: {error}") from error
    if array.dtype == object and any(cell is None for cell in array.flat):
        array = np.where(array == None, np.nan, array).astype(float)  # noqa: E711 - elementwise
    if array.dtype.kind not in "biufc":
        raise InputError(f"The input holds {_strange(array)}, where the model takes numbers.")
    return array


def _flat(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise InputError(f"The tensor '{name}' has the shape {list(array.shape)}; a column has [rows] or [rows, 1].")
    return array


def _strange(array: np.ndarray) -> str:
    if array.dtype.kind in "US":
        return "text" if array.size > 1 else f"the text {array.ravel()[0]!r}"
    found = next((cell for cell in array.flat if not isinstance(cell, int | float)), None)
    return f"a value of the type {type(found).__name__}"
