"""The copy of a flow that a run keeps, without what .amlignore or .gitignore leave out."""

from __future__ import annotations

import fnmatch
import logging
import os
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from promptflow.workspace.atomic import make_folder

_ALWAYS = (".git", ".runs", "__pycache__", ".promptflow")
_OF_FLOWS = (".py", ".yaml", ".yml", ".jinja2", ".jinja", ".j2", ".prompty", ".md", ".txt", ".json", ".toml")
_logger = logging.getLogger(__name__)


def copy_snapshot(
    flow: Path, target: Path, leave_out: Path | None = None, extra: Mapping[str, str] | None = None
) -> None:
    """Copy a flow's folder, which is there whole or not at all.

    ``leave_out`` is a folder inside it that is not part of it (where runs are kept); ``extra``: files by name to make
    where the flow has none of that name.
    """
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    ignore = _left_out(flow, leave_out)
    try:
        shutil.copytree(flow, part, ignore=ignore, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    except (OSError, shutil.Error) as error:
        _logger.warning("The snapshot of %s is incomplete: %s", flow, error)
    make_folder(part)
    for name, text in (extra or {}).items():
        if not (part / name).exists():
            (part / name).write_text(text, encoding="utf-8")
    part.rename(target)


def changed_files(flow: Path, snapshot: Path, leave_out: Path | None = None, extra: Collection[str] = ()) -> list[str]:
    """How a flow differs from its copy, in words. Files that are new count where they could be part of the flow."""
    now, then = set(_files(flow, _left_out(flow, leave_out))), set(_files(snapshot, lambda folder, names: []))
    changed = [f"{name} was removed" for name in then - now - set(extra)]
    changed += [f"{name} is new" for name in now - then if name.endswith(_OF_FLOWS)]
    changed += [f"{name} was changed" for name in now & then if not _is_same(flow / name, snapshot / name)]
    return sorted(changed)


def kept_files(folder: Path) -> list[str]:
    """What a copy of a folder would hold: the paths of its files, relative to it; through links to folders, too."""
    return sorted(_files(folder, _left_out(folder, None), links=True))


def fingerprint(path: Path) -> str | None:
    """What tells whether a file, or a folder's files, were written since; None where there is nothing."""
    if not path.exists():
        return None
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stats = ((file.name, file.stat()) for file in files)
    return f"{zlib.crc32(repr([(name, s.st_size, s.st_mtime_ns) for name, s in stats]).encode()):08x}"


def _left_out(flow: Path, leave_out: Path | None) -> Callable[[str, list[str]], list[str]]:
    """For `shutil.copytree`: the names in a folder that are no part of the flow."""
    ignored = _ignored(flow)

    def ignore(folder: str, names: list[str]) -> list[str]:
        place = Path(folder)
        return [
            name
            for name in names
            if name in _ALWAYS or place / name == leave_out or _special(place / name) or ignored(place / name)
        ]

    return ignore


def _files(root: Path, ignore: Callable[[str, list[str]], list[str]], links: bool = False) -> Iterator[str]:
    """The paths of all files below, relative to ``root``."""
    for folder, folders, names in os.walk(root, followlinks=links):
        ignored = set(ignore(folder, [*folders, *names]))
        folders[:] = [name for name in folders if name not in ignored and not _goes_up(Path(folder, name))]
        for name in names:
            if name not in ignored:
                yield Path(folder, name).relative_to(root).as_posix()


def _goes_up(path: Path) -> bool:
    """Whether it is a link to a folder that it lies in: there would be no end to it."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _is_same(one: Path, other: Path) -> bool:
    try:
        if one.stat().st_size != other.stat().st_size:
            return False
        with one.open("rb") as first, other.open("rb") as second:
            while chunk := first.read(1 << 20):
                if chunk != second.read(1 << 20):
                    return False
    except OSError:
        return False
    return True


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
