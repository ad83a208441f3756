"""`Workspace`: the one handle everybody is given."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from promptflow.workspace.home import DATABASE_VARIABLE, Home, find_home

# Opening a workspace must cost next to nothing: each part is imported when it is first used, SQLAlchemy with some.
if TYPE_CHECKING:
    from promptflow.workspace.blobs import Blobs
    from promptflow.workspace.db import Database
    from promptflow.workspace.events import Events
    from promptflow.workspace.processes import Processes
    from promptflow.workspace.secrets import Secrets
    from promptflow.workspace.settings import Settings
    from promptflow.workspace.store import Store

BLOBS_VARIABLE = "PF_BLOBS_URL"


class Workspace:
    """A folder and a database. Nothing is read or written before it is used."""

    def __init__(self, home: Home, database_url: str = "") -> None:
        self.paths = home
        self.database_url = database_url  # empty: the SQLite file of the folder

    @classmethod
    def open(cls, home: str | Path | None = None, database_url: str | None = None) -> Workspace:
        """The workspace given, else the one of ``PF_HOME_DIRECTORY`` and ``PF_DATABASE_URL``, else ``~/.promptflow``.

        ``database_url=""`` is the SQLite file of the folder, whatever the environment says.
        """
        if database_url is None:
            database_url = os.environ.get(DATABASE_VARIABLE, "").strip()
        return cls(find_home(home), database_url)

    def __repr__(self) -> str:
        return f"Workspace({str(self.home)!r})"

    @property
    def home(self) -> Path:
        return self.paths.folder

    @property
    def runs_folder(self) -> Path:
        return self.paths.runs

    @property
    def traces_folder(self) -> Path:
        return self.paths.traces

    @cached_property
    def settings(self) -> Settings:
        from promptflow.workspace.settings import Settings

        return Settings(self.home)

    @cached_property
    def db(self) -> Database:
        from promptflow.workspace.db import Database, sqlite_url

        return Database(self.database_url or sqlite_url(self.paths.database))

    @cached_property
    def store(self) -> Store:
        from promptflow.workspace.store import Store

        return Store(self.db)

    @cached_property
    def events(self) -> Events:
        from promptflow.workspace.events import Events

        return Events(self.db)

    @cached_property
    def secrets(self) -> Secrets:
        from promptflow.workspace.secrets import Secrets

        return Secrets(self.paths.key, lambda: self.store)

    @cached_property
    def blobs(self) -> Blobs:
        from promptflow.workspace.blobs import Blobs

        return Blobs(os.environ.get(BLOBS_VARIABLE, "").strip() or self.paths.blobs)

    @cached_property
    def processes(self) -> Processes:
        from promptflow.workspace.processes import Processes

        return Processes(self.paths.processes)

    def require_writable(self) -> None:
        """Raise a WorkspaceError that says why nothing can be kept in the folder, if so."""
        self.paths.require_writable()

    def close(self) -> None:
        """Let go of the database's connections; using the workspace again opens new ones."""
        if "db" in self.__dict__:
            self.db.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
