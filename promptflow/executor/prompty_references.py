"""References and overrides in a prompty: ``${env:NAME}``, ``${file:path}``, ``Prompty.load(model=…)``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.exceptions import InvalidSampleError, UserErrorException
from promptflow.workspace.yamlfile import load_yaml

_REFERENCE = re.compile(r"^\$\{(env|file):(.*)\}")


def resolve(value: Any, folder: Path) -> Any:
    """``value`` with its references resolved. An unset variable stays as text; files are relative to ``folder``."""
    if isinstance(value, str):
        match = _REFERENCE.match(value)
        if match is None:
            return value
        kind, name = match.groups()
        return os.environ.get(name, value) if kind == "env" else _file(folder / name, name)
    if isinstance(value, list):
        return [resolve(item, folder) for item in value]
    if isinstance(value, dict):
        return {key: resolve(item, folder) for key, item in value.items()}
    return value


def merged(below: Any, above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` on top of ``below``, mappings key by key."""
    base = below if isinstance(below, Mapping) else {}
    result = dict(base)
    for key, value in above.items():
        result[key] = merged(base.get(key), value) if isinstance(value, dict) else value
    return result


def sample_inputs(sample: Any, folder: Path) -> dict[str, Any]:
    """The inputs that ``sample`` holds: a mapping, or a JSON file beside the prompty or in the working directory."""
    if not sample:
        return {}
    if isinstance(sample, Mapping):
        return dict(sample)
    if not isinstance(sample, str | os.PathLike) or not str(sample).endswith(".json"):
        raise InvalidSampleError("Only dict and json file are supported as sample in prompty.")
    name = str(sample).removeprefix("file:")
    path = next((p for p in (folder / name, Path(name)) if p.is_file()), None)
    if path is None:
        raise InvalidSampleError(f"Cannot find sample file {name}.", hint=f"it is looked for in {folder}")
    values = _file(path, name)
    if not isinstance(values, dict):
        raise InvalidSampleError(f"Sample file {name} must hold an object, found {type(values).__name__}.")
    return values


def _file(path: Path, name: str) -> Any:
    if not path.is_file():
        raise UserErrorException(f"Cannot find the reference file {name}.", location=str(path))
    if path.suffix.lower() in (".yml", ".yaml"):
        return load_yaml(path)[0]
    text = path.read_text(encoding="utf-8")
    if path.suffix.lower() != ".json":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserErrorException(f"{name} is no valid JSON: {error}.", location=str(path)) from error
