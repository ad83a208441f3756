"""What the types of models must hold: an MLmodel file, a Triton model repository; what an adapter says of its base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.yamlfile import load_yaml

MLMODEL = "MLmodel"
ADAPTER = "adapter_config.json"  # PEFT's


def check_content(type: str, path: Path, flavors: Mapping[str, Any]) -> dict[str, Any]:
    """The flavors of a model: those given, else those of its MLmodel. ValidationException if it is not of its type."""
    if type == "mlflow_model":
        return dict(flavors) or _flavors(path)
    if type == "triton_model" and not _is_triton(path):
        raise ValidationException(
            f"{path} is no Triton model: it must be a folder that holds NAME/VERSION/ with the model's files.",
            hint="or give `type: custom_model`",
        )
    return dict(flavors)


def base_model(path: Path) -> str:
    """The name of the model that the adapter in a folder was trained on; empty for what is no adapter."""
    file = path / ADAPTER
    try:
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError) as error:
        raise ValidationException(f"{file} cannot be read: {error}.", location=str(file)) from error
    return str(config.get("base_model_name_or_path") or "") if isinstance(config, dict) else ""


def _flavors(path: Path) -> dict[str, Any]:
    file = path / MLMODEL
    if not file.is_file():
        raise ValidationException(
            f"{path} is no MLflow model: it must be a folder that holds a file MLmodel.",
            hint="or give `type: custom_model`",
        )
    data, marks = load_yaml(file)
    found = data.get("flavors") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise ValidationException("An MLmodel file has a mapping `flavors`.", location=marks.location("flavors"))
    return found


def _is_triton(path: Path) -> bool:
    """A model repository, or one model of one: a folder of folders named by numbers."""
    if not path.is_dir():
        return False
    below = [path, *(folder for folder in path.iterdir() if folder.is_dir())]
    return any(inner.is_dir() and inner.name.isdigit() for folder in below for inner in folder.iterdir())
