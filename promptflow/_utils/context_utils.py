"""Door: run a block in another folder, or with another folder on ``sys.path``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

__all__ = ["_change_working_dir", "inject_sys_path"]


@contextlib.contextmanager
def _change_working_dir(path: str | os.PathLike[str], mkdir: bool = True) -> Iterator[None]:
    if mkdir:
        os.makedirs(path, exist_ok=True)
    with contextlib.chdir(path):
        yield


@contextlib.contextmanager
def inject_sys_path(path: str | os.PathLike[str]) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path[:] = before
