"""The environments that were made for engines: `<workspace>/engines/NAME`, each with the record `ready.json`.

The record is written last. A folder without it is what an install left that was killed: it counts as nothing. A removal
takes the folder out of the way first, in one step; what is left of one that was killed goes with the next one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, write_whole
from promptflow.workspace.home import find_home
from promptflow.workspace.locks import file_lock

READY = "ready.json"
FOLDER = "engines"
REMOVED = ".removed"
_LOCK_SECONDS = 1.0


class InstallNotFoundError(UserErrorException):
    """No such environment is installed."""

    http_status = 404


@dataclass(frozen=True)
class Install:
    """An environment that is whole. ``python`` is its interpreter; ``size`` is in bytes; ``own``: it is in our folder,
    and goes with its record. ``cuda`` is what its torch was built for, empty if it was not."""

    name: str
    engine: str
    version: str
    device: str
    python: Path
    python_version: str = ""
    cuda: str = ""
    packages: Mapping[str, str] = field(default_factory=dict, hash=False)
    size: int = 0
    installed: str = ""
    own: bool = True


class Installs:
    """Those in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, workspace: Workspace | None = None) -> Installs:
        """Of a workspace; of the one in the environment if none is given, and without opening it."""
        return cls((workspace.home if workspace is not None else find_home().folder) / FOLDER)

    def list(self, engine: str = "") -> list[Install]:
        """All that are whole, the newest version first."""
        found = [self._read(file) for file in sorted(self.folder.glob(f"*/{READY}"))]
        whole = [install for install in found if install is not None and engine in ("", install.engine)]
        return sorted(whole, key=lambda install: (_order(install.version), install.installed), reverse=True)

    def unfinished(self) -> Sequence[str]:
        """Names of folders that are no environment (yet). Those of releases are kept by the servers of local models."""
        if not self.folder.is_dir():
            return []
        return sorted(
            entry.name
            for entry in self.folder.iterdir()
            if entry.is_dir() and entry.name[0].isalpha() and self._read(entry / READY) is None
        )

    def get(self, name: str) -> Install:
        """By its name, or by its engine's where only one is installed. InstallNotFoundError."""
        every = self.list()
        named = [install for install in every if install.name == name] or [one for one in every if one.engine == name]
        if not named:
            names = ", ".join(install.name for install in every)
            raise InstallNotFoundError(
                f"There is no engine '{name}' installed here; {f'there are {names}' if names else 'there is none'}.",
                hint="pf engine install vllm",
            )
        if len(named) > 1:
            raise UserErrorException(
                f"'{name}' is installed {len(named)} times.",
                hint=f"name one of {', '.join(install.name for install in named)}",
            )
        return named[0]

    def best(self, engine: str, gpu: bool) -> Install | None:
        """The newest for this kind of machine: of no use without a GPU is what is made for one."""
        return next((one for one in self.list(engine) if one.device == ("gpu" if gpu else "cpu")), None)

    def keep(self, install: Install) -> None:
        """From now on it counts."""
        data = {**asdict(install), "python": str(install.python), "packages": dict(install.packages)}
        write_whole(self.folder / install.name / READY, json.dumps(data, indent=1).encode())

    def remove(self, name: str) -> None:
        """Take it away: at once for all who look, before the long work of deleting it."""
        folder = self.folder / name
        away = self.folder / f".{name}.{secrets.token_hex(4)}{REMOVED}"
        try:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(away)
            self.log(name).unlink(missing_ok=True)
            _delete(away)
        except OSError as error:
            raise file_error("remove", folder, error) from error
        self.sweep()

    def sweep(self) -> None:
        """Delete what removals left that were killed."""
        for left in self.folder.glob(f".*{REMOVED}"):
            with contextlib.suppress(OSError):
                _delete(left)

    def log(self, name: str) -> Path:
        """What pip said."""
        return self.folder / f"{name}.log"

    def locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Against another install or removal of the same; WorkspaceError at once if there is one."""
        return file_lock(self.folder / f".{name}.lock", timeout=_LOCK_SECONDS)

    def _read(self, file: Path) -> Install | None:
        try:
            data = json.loads(file.read_bytes())
            install = Install(**{**data, "python": Path(data["python"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return install if install.name == file.parent.name and install.python.exists() else None


def _delete(folder: Path) -> None:
    while os.path.lexists(folder):
        with contextlib.suppress(FileNotFoundError):  # another process sweeps
            folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.partition("+")[0].split("."))
