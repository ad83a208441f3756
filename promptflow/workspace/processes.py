"""Child processes that outlive their starter: start, watch, stop; a record and a log file each.

Records are files, not rows: pids mean something on one machine only, a local engine must be found without the
165 ms that importing SQLAlchemy takes, and stopping must work while the database is away.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from promptflow.exceptions import WorkspaceError
from promptflow.workspace import pids
from promptflow.workspace.atomic import file_error, make_folder, write_whole
from promptflow.workspace.clock import now_text
from promptflow.workspace.locks import file_lock

_POLL_SECONDS = 0.02
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """A process as last seen: ``status`` is running, exited, stopped, or elsewhere (another machine started it)."""

    name: str
    pid: int
    identity: str
    argv: tuple[str, ...]
    cwd: str
    log: Path
    created: str
    status: str = "running"
    ended: str | None = None
    exit_code: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        return self.status == "running"


class Processes:
    """The child processes of one workspace, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Process:
        """Start a program in a session of its own, its output in a log file. ``env`` adds to this process's own
        environment and is not kept; ``details`` are kept with the record. WorkspaceError if the name is running.
        """
        with self._locked(name):
            known = self._refresh(name)
            if known is not None and known.is_running:
                raise WorkspaceError(
                    f"The process '{name}' is running already (pid {known.pid}).", hint="stop it first"
                )
            log = self.log_path(name)
            pid = _spawn(argv, {**os.environ, **(env or {})}, cwd, log)
            try:
                process = Process(
                    name=name,
                    pid=pid,
                    identity=pids.identity(pid) or "",
                    argv=tuple(argv),
                    cwd=os.path.abspath(cwd or os.getcwd()),
                    log=log,
                    created=now_text(),
                    details=dict(details or {}),
                )
                self._keep(process)
            except BaseException:
                _signal(pid, signal.SIGKILL)  # what is not on record could never be stopped
                os.waitpid(pid, 0)
                raise
        return process

    def get(self, name: str) -> Process | None:
        """The process as it is now, or None if none of that name was ever started."""
        process = self._read(name)
        if process is None or not _has_news(process):
            return process
        with self._locked(name):
            return self._refresh(name)

    def list(self) -> list[Process]:
        """All processes on record, by name."""
        names = sorted(file.name for file in self.folder.glob("*.json")) if self.folder.is_dir() else []
        found = [self._parse(self.folder / file) for file in names]
        return [process for process in (self.get(known.name) for known in found if known) if process]

    def wait(self, name: str, timeout: float | None = None) -> Process:
        """Watch until the process has ended, or ``timeout`` seconds have passed; its last state."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            process = self._must_get(name)
            if not process.is_running or (deadline is not None and time.monotonic() >= deadline):
                return process
            time.sleep(_POLL_SECONDS)

    def stop(self, name: str, grace: float = 10.0) -> Process:
        """End the process and its children: SIGTERM, after ``grace`` seconds SIGKILL. No-op if it has ended."""
        process = self._must_get(name)
        if process.status == "elsewhere":
            host = process.identity.partition("/")[0]
            raise WorkspaceError(f"The process '{name}' was started on '{host}'.", hint="stop it there")
        if process.is_running:
            _stop_group(process, grace)
        with self._locked(name):
            ended = self._refresh(name) or process
            if process.is_running and ended.pid == process.pid and ended.status == "exited":
                ended = replace(ended, status="stopped")
                self._keep(ended)
        return ended

    def forget(self, name: str) -> bool:
        """Remove the record and the log of a process that has ended; False if there is none."""
        process = self.get(name)
        if process is None:
            return False
        if process.is_running:
            raise WorkspaceError(f"The process '{name}' is running.", hint="stop it first")
        for file in (self._file(name), process.log, _previous(process.log)):
            file.unlink(missing_ok=True)
        return True

    def log_path(self, name: str) -> Path:
        """The log file of the process of this name; the one of its earlier start is kept beside it."""
        return self.folder / f"{_file_name(name)}.log"

    def tail(self, name: str, lines: int = 20) -> str:
        """The last lines of its log."""
        try:
            with self.log_path(name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 400 * lines))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _must_get(self, name: str) -> Process:
        process = self.get(name)
        if process is None:
            raise WorkspaceError(f"There is no process '{name}'.")
        return process

    def _refresh(self, name: str) -> Process | None:
        """The record brought up to date; called under the lock."""
        process = self._read(name)
        if process is None or not _has_news(process):
            return process
        exit_code = _reap(process)
        status = "exited" if process.is_running else process.status
        process = replace(process, status=status, ended=process.ended or now_text(), exit_code=exit_code)
        self._keep(process)
        return process

    def _read(self, name: str) -> Process | None:
        process = self._parse(self._file(name))
        if process is not None and process.is_running and _is_elsewhere(process):
            return replace(process, status="elsewhere")
        return process

    def _parse(self, file: Path) -> Process | None:
        try:
            data = json.loads(file.read_bytes())
            return Process(**{**data, "argv": tuple(data["argv"]), "log": file.with_suffix(".log")})
        except FileNotFoundError:
            return None
        except OSError as error:
            raise file_error("read", file, error) from error
        except (ValueError, TypeError, KeyError) as error:
            raise WorkspaceError(f"{file} is not the record of a process.", hint="delete it") from error

    def _keep(self, process: Process) -> None:
        data = {key: value for key, value in asdict(process).items() if key != "log"}
        write_whole(self._file(process.name), json.dumps(data).encode(), mode=0o600)

    def _file(self, name: str) -> Path:
        return self.folder / f"{_file_name(name)}.json"

    def _locked(self, name: str) -> contextlib.AbstractContextManager[None]:
        return file_lock(self.folder / f"{_file_name(name)}.lock")


def _file_name(name: str) -> str:
    if not name or len(quote(name, safe="")) > 200:
        raise WorkspaceError(f"{name[:80]!r} is not a name for a process: 1 to 200 characters.")
    return quote(name, safe="").replace(".", "%2E")


def _previous(log: Path) -> Path:
    return log.with_suffix(".previous.log")


def _spawn(argv: Sequence[str], env: Mapping[str, str], cwd: str | Path | None, log: Path) -> int:
    make_folder(log.parent)
    with contextlib.suppress(FileNotFoundError):
        os.replace(log, _previous(log))
    try:
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error("write", log, error) from error
    try:
        child = subprocess.Popen(
            list(argv),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            start_new_session=True,
        )
    except OSError as error:
        raise file_error("start", error.filename or argv[0], error) from error
    finally:
        os.close(handle)
    # It may outlive this process, and is reaped by pid: Popen would warn about both.
    child.returncode = 0
    return child.pid


def _is_elsewhere(process: Process) -> bool:
    # On the same machine, another start of it or of the container: then it has ended.
    return process.identity.partition("/")[0] != pids.place().partition("/")[0]


def _has_news(process: Process) -> bool:
    if process.is_running:
        return not pids.is_running(process.pid, process.identity)
    # Ended, seen by another process; ours is to reap it, and to learn its exit code.
    return process.exit_code is None and pids.identity(process.pid) == process.identity and _is_child(process.pid)


def _is_child(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _reap(process: Process) -> int | None:
    """The exit code of an ended child of this process (minus the signal that killed it); None for other processes."""
    if pids.identity(process.pid) != process.identity:
        return process.exit_code
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return process.exit_code
    return os.waitstatus_to_exitcode(status) if pid else process.exit_code


def _stop_group(process: Process, grace: float) -> None:
    _signal(process.pid, signal.SIGTERM)
    if not _wait_for(process, grace):
        _signal(process.pid, signal.SIGKILL)
        _wait_for(process, _KILL_SECONDS)
    elif pids.identity(process.pid) in (None, process.identity):
        # Its children had the same time. As long as one lives, no other process gets the number of their group.
        _signal(process.pid, signal.SIGKILL)


def _wait_for(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while pids.is_running(process.pid, process.identity):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
