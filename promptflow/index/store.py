"""The indexes of a workspace, by name: a folder each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from promptflow.exceptions import ValidationException
from promptflow.index.index import About, Index, VectorIndexError, read_about
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import make_folder
from promptflow.workspace.locks import file_lock

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Indexes:
    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.home / "indexes"

    def list(self) -> list[About]:
        """All of them by name; what is no index, or half of one, is left out."""
        found = []
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            try:
                found.append(read_about(folder))
            except VectorIndexError:
                continue
        return found

    def place(self, name: str) -> Path:
        """The folder of an index: by its name, or a folder that holds one. VectorIndexError says which there are."""
        if _NAME.fullmatch(name) and (self.folder / name / "index.json").is_file():
            return self.folder / name
        folder = Path(name).expanduser()
        if (folder / "index.json").is_file():
            return folder
        names = ", ".join(about.name for about in self.list()[:10])
        raise VectorIndexError(
            f"There is no index '{name}'.", hint=f"there are: {names}" if names else "pf index create makes one"
        )

    def open(self, name: str) -> Index:
        return Index(self.place(name))

    @contextmanager
    def making(self, name: str) -> Iterator[Path]:
        """An empty folder, which is the index ``name`` afterwards, in place of one that has the name now. After an
        error the old one stays."""
        if not _NAME.fullmatch(name):
            raise ValidationException(
                f"'{name}' is no name for an index.", hint="letters, digits, dots, dashes and underscores"
            )
        make_folder(self.folder)
        made = Path(mkdtemp(prefix=".making-", dir=self.folder))
        try:
            yield made
            with file_lock(self.folder / ".lock"):
                old = self.folder / f".old-{made.name}"
                if (self.folder / name).exists():
                    (self.folder / name).rename(old)
                made.rename(self.folder / name)
                shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def delete(self, name: str) -> None:
        if not _NAME.fullmatch(name) or not (self.folder / name).is_dir():
            self.place(name)
            raise VectorIndexError(f"'{name}' is no index of this workspace.", hint="delete its folder yourself")
        shutil.rmtree(self.folder / name)
