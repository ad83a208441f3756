"""Files of urls, on this machine for as long as their mini-batch takes."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from types import TracebackType

from promptflow.workspace.urls import file_name, filesystem_of, is_url, shown


class Fetched:
    """In a folder of this process's own under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / str(os.getpid())

    def __enter__(self) -> Fetched:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.clear()

    def get(self, text: str) -> Path:
        """A path as it is; of a url the file, under its own name."""
        if not is_url(text):
            return Path(text)
        place = self._folder / hashlib.sha256(text.encode()).hexdigest()[:8] / (file_name(text) or "data")
        place.parent.mkdir(parents=True, exist_ok=True)
        filesystem, path = filesystem_of(text)
        try:
            filesystem.get_file(path, str(place))
        except Exception as error:  # every filesystem has errors of its own
            raise OSError(f"{shown(text)} cannot be read: {type(error).__name__}: {error}") from error
        return place

    def clear(self) -> None:
        """Remove what was fetched."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder, ignore_errors=True)
