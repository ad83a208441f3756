"""Reading pickles, once the user has said that the file may run code; what is missing to read one is told."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from serve.scorers.base import LoadError
from serve.scorers.lacking import lacking
from serve.scorers.models.base import Loading

_VERSION = re.compile(rb"\d+\.\d+(?:\.\d+)?")


def read_pickle(loading: Loading) -> Any:
    """By joblib where it is there (it reads plain pickles, too), else by pickle."""
    loading.unpickles("a pickle")
    try:
        from joblib import load
    except ImportError:
        load = _plain
    return guarded(lambda: load(loading.path), loading.path)


def guarded(read: Callable[[], Any], path: Path) -> Any:
    """LoadError for whatever goes wrong in a library that reads ``path``, with what would help."""
    try:
        return read()
    except ModuleNotFoundError as error:
        raise LoadError(
            f"{path.name} needs the module '{error.name}', which is not installed.",
            hint=_written(path) or lacking(str(error.name)),
        ) from error
    except (LoadError, MemoryError):
        raise
    except Exception as error:
        said = str(error).partition("\nStack trace:")[0]  # what XGBoost adds of its C++ helps nobody
        raise LoadError(f"{path.name} cannot be loaded: {type(error).__name__}: {said}", hint=_hint(path)) from error


def _plain(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)  # noqa: S301 - the user's word was asked for


def _hint(path: Path) -> str:
    if not path.is_file():
        return ""
    return _written(path) or ("is it whole?" if path.stat().st_size else "it is empty")


def _written(path: Path) -> str:
    """The version of scikit-learn that wrote the file, where that is another one than is here."""
    if not path.is_file():
        return ""
    data = path.read_bytes()
    at = data.rfind(b"_sklearn_version")
    found = _VERSION.search(data, at) if at >= 0 else None
    if found is None:
        return ""
    written = found.group().decode()
    try:
        here = metadata.version("scikit-learn")
    except metadata.PackageNotFoundError:
        here = "none"
    if written == here:
        return ""
    return f"it was written by scikit-learn {written}, and here is {here}: name scikit-learn=={written} in conda_file"
