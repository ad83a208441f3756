"""``mltable.load(folder).to_pandas_dataframe()`` for the transformations that tables of files have.

https://learn.microsoft.com/azure/machine-learning/reference-yaml-mltable
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

FILE = "MLTable"
ENCODINGS = {"utf8": "utf-8", "iso88591": "latin-1", "ascii": "ascii", "windows1252": "cp1252", "utf16": "utf-16"}
HEADERS = {"no_header": None, "from_first_file": 0, "all_files_same_headers": 0, "all_files_different_headers": 0}


def load(uri: str, **_: Any) -> MLTable:
    """The table that the file ``MLTable`` in a folder describes."""
    folder = Path(str(uri).removeprefix("file://"))
    file = folder / FILE if folder.is_dir() else folder
    if not file.is_file():
        raise FileNotFoundError(f"There is no {FILE} in {folder}.")
    told = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return MLTable(told.get("paths") or [], file.parent, told.get("transformations") or [])


def from_delimited_files(
    paths: Sequence[Mapping[str, str]], delimiter: str = ",", header: str = "", encoding: str = "utf8", **_: Any
) -> MLTable:
    given = {"delimiter": delimiter, "header": str(header) or "all_files_same_headers", "encoding": str(encoding)}
    return MLTable(paths, Path.cwd(), [{"read_delimited": given}])


def from_parquet_files(paths: Sequence[Mapping[str, str]], **_: Any) -> MLTable:
    return MLTable(paths, Path.cwd(), ["read_parquet"])


def from_json_lines_files(paths: Sequence[Mapping[str, str]], encoding: str = "utf8", **_: Any) -> MLTable:
    return MLTable(paths, Path.cwd(), [{"read_json_lines": {"encoding": encoding}}])


class MLTable:
    """Files and what is done to them when they are read."""

    def __init__(self, paths: Sequence[Mapping[str, str]], folder: Path, steps: Sequence[Any]) -> None:
        self.paths, self._folder, self._steps = list(paths), folder, list(steps)

    def take(self, count: int = 20) -> MLTable:
        return self._with({"take": count})

    def skip(self, count: int) -> MLTable:
        return self._with({"skip": count})

    def keep_columns(self, columns: Sequence[str] | str) -> MLTable:
        return self._with({"keep_columns": columns})

    def drop_columns(self, columns: Sequence[str] | str) -> MLTable:
        return self._with({"drop_columns": columns})

    def to_pandas_dataframe(self) -> Any:
        import pandas

        reader, settings = "read_delimited", dict[str, Any]()
        steps = [(step, None) if isinstance(step, str) else next(iter(step.items())) for step in self._steps]
        for name, value in steps:
            if name in READERS:
                reader, settings = name, dict(value or {})
        tables = [READERS[reader](file, settings) for file in self._files()]
        table = pandas.concat(tables, ignore_index=True) if tables else pandas.DataFrame()
        for name, value in steps:
            if name in STEPS:
                table = STEPS[name](table, value)
            elif name not in READERS:
                raise NotImplementedError(f"The transformation {name!r} is not known here; {', '.join(STEPS)} are.")
        return table

    def _with(self, step: Any) -> MLTable:
        return MLTable(self.paths, self._folder, [*self._steps, step])

    def _files(self) -> list[Path]:
        found: list[Path] = []
        for entry in self.paths:
            kind, text = next(iter(entry.items()))
            place = self._folder / text.removeprefix("file://").removeprefix("file:")
            if kind == "pattern":
                found += sorted(one for one in self._folder.glob(text.removeprefix("./")) if one.is_file())
            elif kind == "folder":
                found += sorted(one for one in place.rglob("*") if one.is_file())
            else:
                found.append(place)
        return found


def _delimited(file: Path, given: Mapping[str, Any]) -> Any:
    import pandas

    header = HEADERS.get(str(given.get("header", "all_files_same_headers")).rpartition(".")[2], 0)
    encoding = ENCODINGS.get(str(given.get("encoding", "utf8")), "utf-8")
    table = pandas.read_csv(file, sep=given.get("delimiter", ","), header=header, encoding=encoding)
    return table if header is not None else table.rename(columns=lambda at: f"Column{at + 1}")


def _json_lines(file: Path, given: Mapping[str, Any]) -> Any:
    import pandas

    return pandas.read_json(file, lines=True, encoding=ENCODINGS.get(str(given.get("encoding", "utf8")), "utf-8"))


def _parquet(file: Path, _: Mapping[str, Any]) -> Any:
    import pandas

    return pandas.read_parquet(file)


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _converted(table: Any, conversions: Sequence[Mapping[str, Any]]) -> Any:
    import pandas

    kinds = {"int": "Int64", "float": "float64", "string": "string", "boolean": "boolean"}
    for one in conversions:
        told = one["column_type"]
        kind = told if isinstance(told, str) else next(iter(told))
        for name in _listed(one["columns"]):
            as_time = kind in ("datetime", "to_datetime")
            table[name] = pandas.to_datetime(table[name]) if as_time else table[name].astype(kinds.get(kind, kind))
    return table


READERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Any]] = {
    "read_delimited": _delimited, "read_json_lines": _json_lines, "read_parquet": _parquet,
}  # fmt: skip
STEPS: Mapping[str, Callable[[Any, Any], Any]] = {
    "keep_columns": lambda table, names: table[_listed(names)],
    "drop_columns": lambda table, names: table.drop(columns=_listed(names)),
    "take": lambda table, count: table.head(int(count)),
    "skip": lambda table, count: table.iloc[int(count) :].reset_index(drop=True),
    "convert_column_types": _converted,
}
