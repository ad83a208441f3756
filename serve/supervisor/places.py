"""Where instances have their sockets, specs and logs."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from promptflow.workspace.atomic import make_folder

LONGEST_SOCKET = 100  # characters: the kernel takes 107 of a socket's path, macOS 103
LOG_BYTES = 64 * 1024 * 1024  # of a log; then its content becomes the previous log


class Places:
    """Of one server. The sockets' folder is readable by its user only; logs outlive the server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.logs = home / "endpoints" / "logs"
        self.run = home / "endpoints" / "run"
        self._elsewhere: Path | None = None

    def clear(self) -> None:
        """An empty folder for sockets and specs; what an earlier server left is removed."""
        shutil.rmtree(self.run, ignore_errors=True)
        make_folder(self.run, 0o700)
        os.chmod(self.run, 0o700)
        if len(str(self.run)) + 20 > LONGEST_SOCKET:
            self._elsewhere = Path(tempfile.mkdtemp(prefix="pf-"))

    def socket(self, number: int) -> Path:
        return (self._elsewhere or self.run) / f"{number}.sock"

    def spec(self, number: int) -> Path:
        return self.run / f"{number}.json"

    def log(self, endpoint: str, deployment: str, slot: int) -> Path:
        return log_folder(self.home, endpoint, deployment) / f"{slot}.log"

    def close(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)


def log_folder(home: Path, endpoint: str, deployment: str) -> Path:
    """The logs of a deployment: ``SLOT.log``, and ``SLOT.previous.log`` of the instance before."""
    return home / "endpoints" / "logs" / endpoint / deployment


def open_log(path: Path) -> int:
    """A descriptor for a new log; the one before is kept beside it."""
    make_folder(path.parent)
    if path.exists():
        os.replace(path, previous(path))
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def keep_small(path: Path) -> None:
    """Its writer goes on appending, at the beginning again."""
    try:
        if path.stat().st_size > LOG_BYTES:
            shutil.copyfile(path, previous(path))
            os.truncate(path, 0)
    except OSError:
        pass  # gone, or the disk is full: nothing that could be done about it here


def previous(path: Path) -> Path:
    return path.with_suffix(".previous.log")


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log, each whole; none where there is no log."""
    try:
        with path.open("rb") as file:
            start, step = file.seek(0, os.SEEK_END), 400 * lines
            data = b""
            while start and data.count(b"\n") <= lines:  # one more than lines: the first may have begun before
                start, end, step = max(0, start - step), start, step * 2
                file.seek(start)
                data = file.read(end - start) + data
    except FileNotFoundError:
        return []
    return data.decode("utf-8", "replace").splitlines()[-lines:]
