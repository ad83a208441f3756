"""The surroundings of a flow while it runs: its folder as working directory, first on sys.path, its environment."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_lock = threading.RLock()
_active: list[str] = []
_folders: set[str] = set()
_last_folder: str | None = None


@contextmanager
def activated(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run the block as the flow expects it. Working directory and environment belong to the whole process:
    flows of different folders may be active at once only in threads that do not depend on either.
    """
    path = str(folder)
    with _lock:
        nested = bool(_active) and _active[-1] == path
        _active.append(path)
    if nested and not environment:
        try:
            yield
        finally:
            _leave(path)
        return
    before = _working_directory()
    saved = {key: os.environ.get(key) for key in environment or {}}
    with _lock:
        _evict_strangers(path)
        sys.path.insert(0, path)
    try:
        os.chdir(path)
        os.environ.update(environment or {})
        yield
    finally:
        _leave(path)
        if before is not None:
            os.chdir(before)
        for key, value in saved.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        with _lock:
            if path in sys.path:
                sys.path.remove(path)


def _leave(path: str) -> None:
    with _lock:
        for index in range(len(_active) - 1, -1, -1):
            if _active[index] == path:
                del _active[index]
                break


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted under us
        return None


def _evict_strangers(path: str) -> None:
    """Forget modules of other flows' folders that this flow has under the same name (``utils.py`` in both)."""
    global _last_folder
    last, _last_folder = _last_folder, path
    _folders.add(path)
    if last is None or last == path:
        return
    strangers = tuple(folder + os.sep for folder in _folders if folder != path)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or not file.startswith(strangers) or name.startswith("__pf_main__") or "site-packages" in file:
            continue
        top = name.partition(".")[0]
        if os.path.exists(os.path.join(path, top + ".py")) or os.path.isdir(os.path.join(path, top)):
            del sys.modules[name]
