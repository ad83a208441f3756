"""A folder with an ``MLTable`` file: which files are a table, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.exceptions import DataFileError
from promptflow.workspace.yamlfile import Marks, load_yaml
from serve.batch.tables import DELIMITED, JSON_LINES, PARQUET, Reader

NAME = "MLTable"
_READS = {"read_delimited": DELIMITED, "read_parquet": PARQUET, "read_json_lines": JSON_LINES}
_DELIMITERS = {"comma": ",", "tab": "\t", "space": " ", "semicolon": ";", "pipe": "|"}


def read_mltable(folder: Path) -> tuple[list[Path], Reader]:
    """The files in their order, and how to read them. DataFileError with the line of what is not understood."""
    file = folder / NAME
    if not file.is_file():
        raise DataFileError(f"There is no file MLTable in {folder}.", hint="--input-type uri_folder gives the files")
    data, marks = load_yaml(file)
    if not isinstance(data, dict) or not isinstance(data.get("paths"), list):
        raise DataFileError(f"{file} has no list `paths`.", location=marks.location())
    files = [one for at, entry in enumerate(data["paths"]) for one in _files(entry, folder, marks, at)]
    if not files:
        raise DataFileError(f"The paths of {file} match no files.", location=marks.location("paths"))
    return files, _reader(data.get("transformations") or [], marks)


def _files(entry: Any, folder: Path, marks: Marks, at: int) -> list[Path]:
    (kind, value), *more = entry.items() if isinstance(entry, dict) and entry else [("", None)]
    text = str(value).removeprefix("file:").removeprefix("//") if isinstance(value, str) else ""
    if more or kind not in ("file", "folder", "pattern") or not text or "://" in text:
        raise DataFileError(
            "Each of the `paths` is a file, a folder or a pattern of this machine.",
            location=marks.location("paths", at),
        )
    if kind == "pattern":
        root, pattern = (Path("/"), text[1:]) if text.startswith("/") else (folder, text.removeprefix("./"))
        return sorted(one for one in root.glob(pattern) if one.is_file())
    path = folder / text
    if kind == "folder" and path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
    if not path.is_file():
        raise DataFileError(f"There is no {kind} {path}.", location=marks.location("paths", at))
    return [path]


def _reader(steps: Any, marks: Marks) -> Reader:
    found: dict[str, Any] = {}
    for at, step in enumerate(steps if isinstance(steps, list) else [steps]):
        name, value = next(iter(step.items())) if isinstance(step, Mapping) and step else (str(step), None)
        place = marks.location("transformations", at)
        if name in _READS:
            found |= {"kind": _READS[name], **(_delimited(value or {}, place) if name == "read_delimited" else {})}
        elif name in ("keep_columns", "drop_columns"):
            names = value if isinstance(value, list) else [value]
            found[name.partition("_")[0]] = tuple(map(str, names))
        else:
            raise DataFileError(
                f"The transformation '{name}' is not known here.", location=place,
                hint=f"{', '.join(_READS)}, keep_columns and drop_columns are",
            )  # fmt: skip
    if "kind" not in found:
        raise DataFileError("The MLTable does not say how its files are read.", hint=f"one of {', '.join(_READS)}")
    return Reader(**found)


def _delimited(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise DataFileError("read_delimited is a mapping.", location=place)
    delimiter = str(value.get("delimiter") or ",")
    header = value.get("header", True)
    encoding = str(value.get("encoding") or "utf-8").replace("utf8", "utf-8")
    return {
        "delimiter": _DELIMITERS.get(delimiter, delimiter.replace("\\t", "\t")),
        "header": header is not False and str(header).lower() != "no_header",
        "encoding": {"iso88591": "latin-1", "windows1252": "cp1252"}.get(encoding, encoding),
        "multi_line": bool(value.get("support_multi_line")),
    }
