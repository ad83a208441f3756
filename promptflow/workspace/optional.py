"""The one error for an optional dependency that is not installed."""

from __future__ import annotations

import importlib
from types import ModuleType

from promptflow.exceptions import MissingExtraError


def need(module: str, *, extra: str) -> ModuleType:
    """Import ``module``, which comes with ``promptflow[extra]``; MissingExtraError holds the install line."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not error.name or module != error.name and not module.startswith(f"{error.name}."):
            raise  # installed, but broken: another of its imports is missing
        raise MissingExtraError(
            f"This needs '{module.partition('.')[0]}', which comes with promptflow[{extra}] and is not installed.",
            hint=f"pip install 'promptflow[{extra}]'",
        ) from error
