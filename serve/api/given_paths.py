"""Paths in what the API is sent: whole ones, for it comes from nowhere that others could be relative to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from promptflow.exceptions import ValidationException

_FOLDERS = ("./", "../", "~", ".", "file:")
_ELSEWHERE = ("azureml:", "models:/", "git+", "http:", "https:")


def check_paths(data: Mapping[str, Any]) -> None:
    """ValidationException for a path of a deployment that is relative, or the root of all."""
    for key, value in _paths(data):
        if isinstance(value, str) and value and not value.startswith(_ELSEWHERE):
            check_path(key, value)


def check_path(key: str, text: str) -> None:
    """ValidationException for a path that is relative, or the root of all."""
    path = text.removeprefix("file://").removeprefix("file:")
    if not path.startswith("/"):
        raise ValidationException(f"{key} is {text!r}, a relative path.", hint="the whole path on the server's machine")
    if os.path.normpath(path).lstrip("/") == "":
        raise ValidationException(f"{key} is {text!r}, which is all of the machine.")


def _paths(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys that may hold paths, with what they hold."""
    model = data.get("model")
    if isinstance(model, str) and (model.startswith(_FOLDERS) or model.startswith("/")):
        yield "model", model
    yield "flow", data.get("flow")
    for keys in (
        ("model", "path"), ("model", "local_path"), ("code_configuration", "code"),
        ("code_configuration", "code", "local_path"), ("environment", "conda_file"), ("environment", "build", "path"),
    ):  # fmt: skip
        yield ".".join(keys), _inner(data, *keys)
    adapters = data.get("adapters")
    for name, value in (adapters if isinstance(adapters, Mapping) else {}).items():
        if isinstance(value, str) and value.startswith((*_FOLDERS, "/")):
            yield f"adapters.{name}", value


def _inner(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
