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
    rows: Sequence[Sequence[Any]] | np.ndarray
    index: Sequence[Any] = ()

    def array(self, wanted: Sequence[str] = (), texts: bool = False) -> np.ndarray:
        """Rows x columns as numbers, or with ``texts`` as whatever they are; with ``wanted`` those columns in that
        order, where the table names its own."""
        rows = self.rows if not wanted or not self.columns else self.ordered(wanted)
        return cells(rows) if texts else numbers(cells(rows))

    def frame(self, wanted: Sequence[str] = ()) -> Any:
        """The same as a pandas table."""
        import pandas

        rows = self.rows if not wanted or not self.columns else self.ordered(wanted)
        columns = (wanted if self.columns and wanted else self.columns or wanted) or None
        try:
            return pandas.DataFrame(rows, columns=None if columns is None else list(columns), index=self._index())
        except ValueError as error:
            raise InputError(f"The rows are not what the model takes: {error}") from error

    def ordered(self, wanted: Sequence[str]) -> Sequence[Sequence[Any]] | np.ndarray:
        """The rows with these columns alone, in this order."""
        if tuple(wanted) == self.columns:
            return self.rows
        missing = [name for name in wanted if name not in self.columns]
        if missing:
            raise InputError(
                f"The input has no column '{missing[0]}'; the model takes {', '.join(wanted)}.",
                hint=f"it has {', '.join(self.columns)}",
            )
        places = [self.columns.index(name) for name in wanted]
        return [[row[place] for place in places] for row in self.rows]

    def _index(self) -> list[Any] | None:
        return list(self.index) or None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Either ``table`` or ``tensors``; ``params`` are the caller's words to the model; ``wanted`` are names of outputs,
    empty for the model's usual ones."""

    table: Table | None = None
    tensors: Tensors | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    wanted: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Table | Tensors, params: Mapping[str, Any] | None = None) -> Inputs:
        return cls(found, None, params or {}) if isinstance(found, Table) else cls(None, found, params or {})

    def array(self, columns: Sequence[str] = (), texts: bool = False) -> np.ndarray:
        """All of it as one array; ``columns`` are the model's own names, in its order. With ``texts`` it may hold
        other things than numbers, and is an array of objects then."""
        if self.table is not None:
            return self.table.array(columns, texts)
        assert self.tensors is not None
        if len(self.tensors) == 1:
            array = next(iter(self.tensors.values()))
        else:
            array = _side_by_side(self.named(columns))
        if array.dtype.kind in "US":
            array = array.astype(object)
        return array if texts else numbers(array)

    def frame(self, columns: Sequence[str] = ()) -> Any:
        """All of it as a pandas table."""
        if self.table is not None:
            return self.table.frame(columns)
        import pandas

        assert self.tensors is not None
        if len(self.tensors) == 1:
            (array,) = self.tensors.values()
            if array.ndim == 2:
                return Table((), array).frame(columns)
        try:
            return pandas.DataFrame({name: _flat(name, one) for name, one in self.named(columns).items()})
        except ValueError as error:
            raise InputError(f"The tensors make no table: {error}") from error

    def named(self, columns: Sequence[str]) -> Tensors:
        """The tensors of these names in this order; all of them where there are no names."""
        assert self.tensors is not None
        if not columns:
            return self.tensors
        missing = [name for name in columns if name not in self.tensors]
        if missing:
            raise InputError(f"The input has no tensor '{missing[0]}'; the model takes {', '.join(columns)}.")
        return {name: self.tensors[name] for name in columns}


def cells(rows: Any) -> np.ndarray:
    """Nested lists as an array: of numbers (null is NaN) where they are all numbers, else of objects as they came.
    InputError where they are uneven."""
    try:
        array = np.asarray(rows)
    except (ValueError, OverflowError) as error:
        raise InputError(f"The rows are not of the same shape: {error}") from error
    if array.dtype.kind in "US":  # numbers beside texts have become texts, too
        return np.array(rows, dtype=object)
    if array.dtype == object and all(cell is None or isinstance(cell, int | float) for cell in array.flat):
        return array.astype(float)
    return array


def numbers(array: np.ndarray) -> np.ndarray:
    """``array`` if it is of numbers; InputError says what else it holds."""
    if array.dtype.kind not in "biufc":
        raise InputError(f"The input holds {_strange(array)}, where the model takes numbers.")
    return array


def _side_by_side(tensors: Tensors) -> np.ndarray:
    try:
        return np.stack([_flat(name, one) for name, one in tensors.items()], axis=1)
    except ValueError as error:
        told = ", ".join(f"'{name}' has {len(one)}" for name, one in tensors.items())
        raise InputError(f"The tensors are not of the same length: {told}.") from error


def _flat(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim != 1:
        raise InputError(f"The tensor '{name}' has the shape {list(array.shape)}; a column has [rows] or [rows, 1].")
    return array


def _strange(array: np.ndarray) -> str:
    found = next((cell for cell in array.flat if not isinstance(cell, int | float | None)), None)
    if isinstance(found, str | bytes):
        return f"the text {found[:40]!r}"
    return f"a value of the type {type(found).__name__}"
