"""One result in each format of `-o`: pure functions from data to text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_DEPTH = 200  # what is deeper, or inside itself, is shown up to here
FORMATS = ("table", "json", "jsonl", "yaml", "tsv", "quiet")


def to_json(value: Any, indent: int | None = 4, ascii: bool = False) -> str:
    """JSON that every parser reads: NaN and infinities become null, what JSON lacks becomes text."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=ascii, allow_nan=False, default=_plain)
    except (ValueError, RecursionError):
        return json.dumps(_finite(value), indent=indent, ensure_ascii=ascii, default=_plain)


def to_jsonl(value: Any, ascii: bool = False) -> str:
    return "\n".join(to_json(item, indent=None, ascii=ascii) for item in _rows(value))


def to_yaml(value: Any) -> str:
    import yaml  # 15 ms, for this format only

    data = json.loads(to_json(value))
    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)).rstrip("\n")


def to_tsv(value: Any, columns: Sequence[str] = ()) -> str:
    """A header and one line per row; tabs, line ends and backslashes in cells are escaped."""
    rows = _rows(value)
    names = list(columns) or column_names(rows)
    lines = ["\t".join(names)]
    lines += ["\t".join(_escape(cell(row.get(name))) for name in names) for row in rows]
    return "\n".join(lines)


def to_names(value: Any, key: str) -> str:
    return "\n".join(str(row.get(key, "")) for row in _rows(value))


def cell(value: Any) -> str:
    """One value as one line of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if value == value else ""
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else to_json(value, indent=None)


def one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "\\n").replace("\t", " ")


def column_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))


def _rows(value: Any) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, Mapping) else {"value": item} for item in items]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\r", "\\r").replace("\n", "\\n")


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    if isinstance(value, (set, tuple)):
        return list(value)
    try:
        return str(value)
    except Exception as error:  # a user's class
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _finite(value: Any, depth: int = 0) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if not isinstance(value, (Mapping, list, tuple)):
        return value
    if depth > MAX_DEPTH:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {str(k): _finite(v, depth + 1) for k, v in value.items()}
    return [_finite(v, depth + 1) for v in value]
