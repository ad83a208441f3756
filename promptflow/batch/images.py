"""Image values inside data: where their files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_BASIC_KEY = re.compile(r"data:image/[^;]*;path")


def absolute_images(value: Any, folder: Path) -> Any:
    """``value`` with the relative paths of its images made absolute, from ``folder``. Plain values come back as is."""
    if isinstance(value, dict):
        if len(value) == 1:
            key, path = next(iter(value.items()))
            if isinstance(key, str) and isinstance(path, str) and _BASIC_KEY.fullmatch(key):
                return {key: _absolute(path, folder)}
        if value.get("type") == "image_file" and isinstance(value.get("image_file"), dict):
            file = value["image_file"]
            if isinstance(file.get("path"), str):
                return {**value, "image_file": {**file, "path": _absolute(file["path"], folder)}}
        if any(isinstance(item, dict | list) for item in value.values()):
            return {key: absolute_images(item, folder) for key, item in value.items()}
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [absolute_images(item, folder) for item in value]
    return value


def _absolute(path: str, folder: Path) -> str:
    return path if Path(path).is_absolute() else (folder / path).resolve().as_posix()
