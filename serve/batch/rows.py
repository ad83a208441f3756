"""What a driver's ``run`` returned -> the lines of the output file, as Azure ML writes them.

Each item of a list is a line, as ``str`` has it; a table's rows have a space between cells, and no header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from promptflow.exceptions import UserErrorException


class RowsError(UserErrorException):
    """It is nothing that rows can be made of: to run it again would not help."""


@dataclass(frozen=True, slots=True)
class Rows:
    """``text`` of ``count`` rows, each with a line feed at its end. ``done`` is how many of the items they stand for,
    None where each stands for one."""

    text: bytes
    count: int
    done: int | None = None


def to_rows(result: Any, *, keep: bool = True) -> Rows:
    """The rows of a list, a tuple, an array, a table, or a generator of these or of items. With ``keep`` false they are
    counted only. RowsError for anything else."""
    if _is_table(result):
        return Rows(_table(result) if keep else b"", len(result))
    if isinstance(result, Iterator):
        parts = [_part(item, keep) for item in result]
        return Rows(b"".join(part.text for part in parts), sum(part.count for part in parts))
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable) or not hasattr(result, "__len__"):
        raise RowsError(
            f"run() returned {_told(result)}.", hint="it returns a list, a table of pandas, or yields items"
        )
    if getattr(result, "ndim", 1) == 0:
        raise RowsError("run() returned an array of no dimension.", hint="it returns one item for each input")
    lines = [_line(item) for item in result]
    return Rows(b"".join(lines) if keep else b"", len(lines))


def _part(item: Any, keep: bool) -> Rows:
    """What a generator gave: a table or a list is many rows, anything else is one."""
    if _is_table(item) or isinstance(item, list):
        return to_rows(item, keep=keep)
    return Rows(_line(item) if keep else b"", 1)


def _is_table(value: Any) -> bool:
    return hasattr(value, "to_csv") and hasattr(value, "columns")


def _table(table: Any) -> bytes:
    text: str = table.to_csv(header=False, index=False, sep=" ", lineterminator="\n")
    return text.encode("utf-8", "backslashreplace")


def _line(item: Any) -> bytes:
    if isinstance(item, bytes | bytearray):
        item = bytes(item).decode("utf-8", "backslashreplace")
    elif getattr(item, "ndim", 0) == 1:  # a row of an array
        item = " ".join(map(str, item.tolist()))
    return f"{item}\n".encode("utf-8", "backslashreplace")


def _told(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
