"""Which files of a folder matter, and what each of them is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import DAG_FILES, FLEX_FILES

_SKIPPED = {"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist"}
_SUFFIXES = (".yaml", ".yml", ".prompty", ".py", ".ipynb", ".sh")
_YAML = (".yaml", ".yml")


def files(root: Path) -> Iterator[Path]:
    """The files to look at, in order; hidden folders, virtual environments and build outputs are left out."""
    if root.is_file():
        yield root
        return
    for folder, names, found in os.walk(root):
        # `.promptflow` and `.runs` hold what runs left; a venv holds other people's code.
        names[:] = sorted(
            n for n in names if not n.startswith(".") and n not in _SKIPPED and not n.endswith(".egg-info")
        )
        if "pyvenv.cfg" in found:
            names.clear()
            continue
        for name in sorted(found):
            if name.endswith(_SUFFIXES) or is_requirements(name):
                yield Path(folder, name)


def is_requirements(name: str) -> bool:
    return name.startswith("requirements") and name.endswith(".txt")


def kind_of_file(path: Path) -> str | None:
    """What the name alone tells; None for YAML that must be read first."""
    if path.name in DAG_FILES:
        return "dag flow"
    if path.name in FLEX_FILES:
        return "flex flow"
    if path.suffix in _YAML:
        return None
    if is_requirements(path.name):
        return "requirements"
    return {".prompty": "prompty", ".py": "python", ".ipynb": "notebook", ".sh": "script"}.get(path.suffix, "other")


def kind_of_yaml(data: Any) -> str | None:
    """What a YAML document is, from its `$schema` and its keys; None when it is none of ours."""
    if not isinstance(data, Mapping):
        return None
    schema = str(data.get("$schema") or "").lower()
    for mark, kind in (("connection", "connection"), ("run.schema", "run"), ("experiment", "experiment")):
        if mark in schema.rsplit("/", 1)[-1]:
            return kind
    if isinstance(data.get("nodes"), list) and ("outputs" in data or "inputs" in data):
        return "dag flow"
    if isinstance(data.get("entry"), str) and (":" in data["entry"]) and "type" not in data:
        return "flex flow"
    if "flow" in data and ("data" in data or "column_mapping" in data or "run" in data):
        return "run"
    if isinstance(data.get("type"), str) and "name" in data and ("api_key" in data or "secrets" in data):
        return "connection"
    return None
