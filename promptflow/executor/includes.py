"""``additional_includes``: files, folders and zips beside the flow, merged into a copy of its folder before it runs."""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import zipfile
from pathlib import Path

from promptflow.exceptions import UserErrorException

logger = logging.getLogger(__name__)


def merged_folder(folder: Path, includes: tuple[str, ...]) -> Path:
    """A temporary copy of ``folder`` with what ``includes`` name; deleted when the process ends.

    Raises UserErrorException for a path that is not there.
    """
    target = Path(tempfile.mkdtemp(prefix="pf_flow_"))
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    copy_with_includes(folder, includes, target)
    return target


def copy_with_includes(folder: Path, includes: tuple[str, ...], target: Path) -> None:
    """Copy the flow, then its includes; a file of the flow itself wins over an include of the same name."""
    shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".promptflow", "__pycache__"))
    for include in includes:
        source = resolve_include(folder, include)
        if target.resolve().is_relative_to(source):
            raise UserErrorException(
                f"Additional include {include} holds the folder that flows are copied to ({target.parent}).",
                location=str(folder),
                hint="include a smaller folder",
            )
        if source.suffix == ".zip" and source.is_file():
            _unpack(source, target)
        elif source.is_dir():
            _copy_folder(source, target / source.name)
        elif (target / source.name).exists():
            logger.warning("Additional include %s is ignored: the flow has a file of that name.", include)
        else:
            shutil.copy2(source, target / source.name)


def resolve_include(folder: Path, include: str) -> Path:
    """The file or folder an include names, or the zip that stands for a folder of that name."""
    if "\0" in include:
        raise UserErrorException(f"{include!r} is no path.", location=str(folder))
    path = (folder / include).resolve()
    if path.exists():
        return path
    zipped = path.with_name(path.name + ".zip")
    if zipped.exists():
        return zipped
    raise UserErrorException(
        f"Unable to find additional include {include}", location=str(folder), hint=f"looked for {path}"
    )


def _copy_folder(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if "__pycache__" in relative.parts or ".promptflow" in relative.parts:
            continue
        destination = target / relative
        if path.is_dir():
            destination.mkdir(parents=True, exist_ok=True)
        elif not destination.exists():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, destination)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack into ``target``; an entry that would land outside is refused."""
    root = target.resolve()
    try:
        with zipfile.ZipFile(archive) as zip_file:
            for name in zip_file.namelist():
                if not (root / name).resolve().is_relative_to(root):
                    raise UserErrorException(
                        f"{archive} holds {name!r}, which points outside its folder.", location=str(archive)
                    )
            zip_file.extractall(root)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:  # cut, crossed, encrypted
        raise UserErrorException(f"{archive} cannot be unpacked: {error}.", location=str(archive)) from error
