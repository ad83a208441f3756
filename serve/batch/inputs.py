"""The input of a job as its caller writes it: a folder, a file, a pattern, a url, a table."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from promptflow.exceptions import DataFileError, PathNotFoundError, ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.urls import filesystem_of, is_url, shown
from serve.batch import mltable
from serve.batch.data import find_data, is_reference

FOLDER, FILE, TABLE = "uri_folder", "uri_file", "mltable"
TYPES = (FOLDER, FILE, TABLE)
_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Input:
    """``path``: absolute, or a url, or a pattern. ``type`` is one of `TYPES`, ``asset`` the id of data with a name."""

    path: str
    type: str = FOLDER
    asset: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, str]) -> Self:
        return cls(data["path"], data["type"], data.get("asset", ""))

    def to_json(self) -> dict[str, str]:
        found = {"path": self.path, "type": self.type}
        return {**found, "asset": self.asset} if self.asset else found

    @property
    def is_url(self) -> bool:
        return is_url(self.path)


def resolve_input(text: str, type: str = "", base: Path | None = None, *, workspace: Workspace | None = None) -> Input:
    """The input that ``text`` names, found to be there if it is on this machine. ``type`` empty: what it looks like.
    ``workspace`` is where data has names."""
    if type and type not in TYPES:
        raise ValidationException(f"'{type}' is no type of an input.", hint=f"one of {', '.join(TYPES)}")
    if is_reference(text):
        if workspace is None:
            raise ValidationException(f"{text} names data of a workspace.", hint="give its path, or a url")
        data = find_data(text, workspace)
        kept = data.type if data.path.is_dir() and data.type == TABLE else ""
        return replace(resolve_input(str(data.path), type or kept), asset=data.asset)
    if is_url(text):
        if type == TABLE:
            raise ValidationException("A table of a url is not read.", hint="copy its folder to this machine")
        return Input(text, type or FOLDER)
    path = os.path.abspath((base or Path.cwd()) / Path(text.removeprefix("file://")).expanduser())
    if not os.path.exists(path):
        if _MAGIC & {*path} and next(glob.iglob(path, recursive=True), None) is not None:
            return Input(path, FOLDER)
        raise PathNotFoundError(f"There is no file or folder {path}.", hint="--input takes a path, a pattern or a url")
    found = type or (TABLE if (Path(path) / mltable.NAME).is_file() else FOLDER if os.path.isdir(path) else FILE)
    if found == TABLE and Path(path).name == mltable.NAME:
        path = os.path.dirname(path)
    if found == TABLE:
        mltable.read_mltable(Path(path))
    return Input(path, found)


def files_of(given: Input) -> list[str]:
    """The files of an input that is no table, in an order that is always the same: paths, or urls."""
    if given.is_url:
        return _of_url(given)
    path = Path(given.path)
    if path.is_file():
        return [given.path]
    if path.is_dir():
        return [*_of_folder(path)]
    found = sorted(glob.glob(given.path, recursive=True))
    return [file for one in found for file in (_of_folder(Path(one)) if os.path.isdir(one) else [one])]


def _of_folder(path: Path) -> Iterator[str]:
    """Without what is hidden."""
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(folder, name) for name in sorted(names) if not name.startswith("."))


def _of_url(given: Input) -> list[str]:
    filesystem, path = filesystem_of(given.path)
    if given.type == FILE or path.startswith(("http:", "https:")):
        return [given.path]
    try:
        found = filesystem.glob(path) if _MAGIC & {*path} else filesystem.find(path)
    except Exception as error:  # every filesystem has errors of its own
        raise DataFileError(f"Cannot list {shown(given.path)}: {type(error).__name__}: {error}") from error
    _, chained, within = given.path.partition("::")  # zip://folder::s3://bucket/file.zip
    return sorted(f"{filesystem.unstrip_protocol(one)}{chained}{within}" for one in found)
