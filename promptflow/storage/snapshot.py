"""The copy of a flow that a run keeps, without what .amlignore or .gitignore leave out."""

from __future__ import annotations

import fnmatch
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

_ALWAYS = (".git", ".runs", "__pycache__", ".promptflow")
_logger = logging.getLogger(__name__)


def copy_snapshot(flow: Path, target: Path, leave_out: Path | None = None) -> None:
    """Copy a flow's folder. ``leave_out`` is a folder inside it that is not part of it (where runs are kept)."""
    ignored = _ignored(flow)

    def ignore(folder: str, names: list[str]) -> list[str]:
        place = Path(folder)
        return [
            name
            for name in names
            if name in _ALWAYS or place / name == leave_out or _special(place / name) or ignored(place / name)
        ]

    try:
        shutil.copytree(flow, target, ignore=ignore, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    except (OSError, shutil.Error) as error:
        _logger.warning("The snapshot of %s is incomplete: %s", flow, error)


def _special(path: Path) -> bool:
    """Sockets, pipes and devices cannot be copied."""
    return not (path.is_file() or path.is_dir())


def _ignored(flow: Path) -> Callable[[Path], bool]:
    """A test by the patterns of the flow's .amlignore, or else of its .gitignore."""
    file = next((flow / name for name in (".amlignore", ".gitignore") if (flow / name).is_file()), None)
    if file is None:
        return lambda path: False
    lines = (line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    patterns = [line for line in lines if line and not line.startswith("#")]

    def test(path: Path) -> bool:
        relative = path.relative_to(flow).as_posix()
        hidden = False
        for pattern in patterns:  # the last one that matches decides
            wanted = pattern.startswith("!")
            if _matches(relative, path, pattern.removeprefix("!")):
                hidden = not wanted
        return hidden

    return test


def _matches(relative: str, path: Path, pattern: str) -> bool:
    if pattern.endswith("/"):
        if not path.is_dir():
            return False
        pattern = pattern.rstrip("/")
    if "/" in pattern.strip("/"):
        pattern = pattern.lstrip("/")
        return fnmatch.fnmatchcase(relative, pattern) or fnmatch.fnmatchcase(relative, pattern.replace("**/", ""))
    if pattern.startswith("/"):
        return fnmatch.fnmatchcase(relative, pattern[1:])
    return fnmatch.fnmatchcase(path.name, pattern)
