"""Where the workspace folder is, and what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptflow.exceptions import WorkspaceError
from promptflow.workspace.atomic import file_error, make_folder

HOME_VARIABLE = "PF_HOME_DIRECTORY"
DATABASE_VARIABLE = "PF_DATABASE_URL"


@dataclass(frozen=True)
class Home:
    """The paths of one workspace. Microsoft's own files (pf.sqlite, pf.yaml, .runs) may lie in the same folder."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "workspace.sqlite"

    @property
    def runs(self) -> Path:
        return self.folder / ".runs"

    @property
    def traces(self) -> Path:
        return self.folder / "traces"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def processes(self) -> Path:
        return self.folder / "processes"

    @property
    def locks(self) -> Path:
        return self.folder / "locks"

    @property
    def key(self) -> Path:
        return self.folder / "secret.key"

    @property
    def config(self) -> Path:
        return self.folder / "pf.yaml"

    def require_writable(self) -> None:
        """Raise a WorkspaceError that says why nothing can be kept here, if so."""
        make_folder(self.folder)
        probe = self.folder / f".writable-{os.getpid()}"
        try:
            probe.write_bytes(b"x")
        except OSError as error:
            raise file_error("write to the workspace folder", self.folder, error) from error
        finally:
            _unlink(probe)


def find_home(home: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Home:
    """The folder given, else ``PF_HOME_DIRECTORY``, else ``~/.promptflow``; nothing is created."""
    chosen = home or environ.get(HOME_VARIABLE, "").strip()
    try:
        folder = Path(chosen).expanduser() if chosen else Path.home() / ".promptflow"
    except RuntimeError as error:
        raise WorkspaceError(f"There is no home folder: {error}", hint=f"set {HOME_VARIABLE}") from error
    # abspath, not resolve: a symbolic link that the user made stays the name that the user knows.
    return Home(Path(os.path.abspath(folder)))


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass
