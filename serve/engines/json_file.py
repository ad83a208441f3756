"""The JSON files of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from promptflow.exceptions import ValidationException


def read_json(file: Path) -> dict[str, Any]:
    """The object in ``file``; empty where there is no file. ValidationException for anything else."""
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValidationException(f"{file} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValidationException(f"{file} holds no JSON object.")
    return value
