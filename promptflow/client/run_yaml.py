"""`load_run`: from a run YAML to a `Run`."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.batch.options import OPTION_NAMES
from promptflow.entities.run import Run
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace.yamlfile import load_yaml

_RUN_KEYS = (
    "$schema name display_name description tags properties flow data run column_mapping variant environment_variables "
    "connections init overrides resources identity runtime status type"
).split()
_PATHS = ("flow", "data", "environment_variables", "init", "export")
_logger = logging.getLogger(__name__)


def load_run(source: str | PathLike[str], params_override: list[Mapping[str, Any]] | None = None, **kwargs: Any) -> Run:
    """A run YAML as a `Run`. ``params_override``: ``[{"name": "x"}, {"column_mapping.q": "${data.q}"}]``.

    Paths in the file are relative to it; paths in overrides to the working directory.
    """
    file = Path(source)
    data, marks = load_yaml(file)
    if not isinstance(data, dict):
        raise ValidationException(f"{file.name} is no run: it must be a mapping with 'flow'.", location=str(file))
    for key in data:
        if key not in _RUN_KEYS and key not in OPTION_NAMES:
            line, column = marks.at(key)
            _logger.warning("%s:%d:%d: unknown key %r is ignored", file, line, column, key)
    values = {key: _resolved(key, value, file.parent) for key, value in data.items()}
    for override in params_override or ():
        for key, value in override.items():
            _set(values, key, value)
    values["environment_variables"] = _environment(values.get("environment_variables"), file)
    values["init"] = _init(values.get("init"), file)
    if not values.get("flow"):
        raise UserErrorException("'flow' is required to create a run.", location=str(file), hint="add flow: <folder>")
    known = (
        "name display_name description tags properties flow data run column_mapping variant environment_variables "
        "connections init overrides"
    ).split()
    options = {key: values[key] for key in OPTION_NAMES if values.get(key) is not None}
    return Run(**{key: values[key] for key in known if values.get(key) is not None}, options=options)


def _resolved(key: str, value: Any, folder: Path) -> Any:
    if key in _PATHS and isinstance(value, str) and "://" not in value:
        return (folder / value).resolve().as_posix()
    return value


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """Set ``a.b`` inside ``values``."""
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ValidationException(f"{key} cannot be set: {parent} is no mapping.")
    values[last] = value


def _environment(value: Any, file: Path) -> dict[str, str] | None:
    """Environment variables as given, or from a .env file."""
    if not isinstance(value, str):
        return {name: _text(item) for name, item in value.items()} if value else None
    if not Path(value).is_file():
        raise ValidationException(f"environment_variables: {value} does not exist.", location=str(file))
    from dotenv import dotenv_values  # only runs that name a .env file need it

    return {name: item or "" for name, item in dotenv_values(value).items()}


def _init(value: Any, file: Path) -> dict[str, Any] | None:
    if not isinstance(value, str):
        return dict(value) if value else None
    try:
        text = Path(value).read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.splitlines() if line.strip()] if value.endswith("l") else []
        loaded: dict[str, Any] = rows[0] if rows else json.loads(text)
    except (OSError, ValueError) as error:
        raise ValidationException(f"init: {value} cannot be read: {error}", location=str(file)) from error
    return loaded


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
