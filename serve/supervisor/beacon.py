"""Where the workspace's server is: a file that says so while it runs. One workspace has one server."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from promptflow.exceptions import UserErrorException, WorkspaceError
from promptflow.workspace import Workspace, pids
from promptflow.workspace.atomic import write_whole
from promptflow.workspace.locks import file_lock

ENDING_SECONDS = 20.0  # that the one before may take until it is gone
KEY = "server:key"  # the secret that opens the REST API


@dataclass(frozen=True)
class Beacon:
    """``host`` and ``port`` are what to connect to from this machine, ``grpc`` the port for that, or 0; ``key`` opens
    the REST API."""

    host: str
    port: int
    pid: int
    identity: str
    key: str
    grpc: int = 0

    def __repr__(self) -> str:
        return f"Beacon({self.url}, pid={self.pid})"

    @property
    def url(self) -> str:
        return f"http://{self._at(self.port)}"

    @property
    def grpc_address(self) -> str:
        return self._at(self.grpc)

    def _at(self, port: int) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{port}"


def find(home: Path) -> Beacon | None:
    """The server that runs now, or None."""
    beacon = left(home)
    return beacon if beacon is not None and pids.is_running(beacon.pid, beacon.identity) else None


def left(home: Path) -> Beacon | None:
    """The server that runs now, or the one that was killed, if none has run since; else None."""
    try:
        return Beacon(**json.loads(_file(home).read_bytes()))
    except (ValueError, TypeError, OSError):
        return None


@contextlib.contextmanager
def only_server(home: Path) -> Iterator[None]:
    """Within it, no other server of this workspace starts. UserErrorException if one runs; one that is ending is
    waited for."""
    with contextlib.ExitStack() as stack:
        deadline = time.monotonic() + ENDING_SECONDS
        while not _locked(stack, home, time.monotonic() > deadline):
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def lit(workspace: Workspace, host: str, port: int, grpc: int = 0) -> Iterator[Beacon]:
    """Tell where this process's server is, until the block ends."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    own = os.getpid()
    beacon = Beacon(reached, port, own, pids.identity(own) or "", server_key(workspace), grpc)
    file = _file(workspace.home)
    write_whole(file, json.dumps(asdict(beacon)).encode(), mode=0o600)
    write_whole(_port_file(workspace.home), str(port).encode())
    try:
        yield beacon
    finally:
        file.unlink(missing_ok=True)


def last_port(home: Path) -> int | None:
    """The port that the server had when it ran last, however it ended: clients keep its addresses."""
    try:
        return int(_port_file(home).read_text())
    except (OSError, ValueError):
        return None


def _locked(stack: contextlib.ExitStack, home: Path, last: bool) -> bool:
    try:
        stack.enter_context(file_lock(home / "locks" / "server.lock", timeout=0))
    except WorkspaceError as error:
        running = find(home)
        if running is not None:
            raise UserErrorException(
                f"The server of this workspace runs already, at {running.url} (pid {running.pid}).",
                hint="pf server stop ends it",
            ) from error
        if last:
            raise
        return False  # its server does not answer any more, or not yet
    return True


def server_key(workspace: Workspace) -> str:
    """The key of the workspace's REST API; made when it is first asked for."""
    key = workspace.secrets.get(KEY)
    if key is None:
        key = f"pfs-{os.urandom(24).hex()}"
        workspace.secrets.set(KEY, key)
    return key


def _file(home: Path) -> Path:
    return home / "endpoints" / "server.json"


def _port_file(home: Path) -> Path:
    return home / "endpoints" / "server.port"
