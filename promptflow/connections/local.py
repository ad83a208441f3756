"""The built-in connection ``local``: a server on this machine for each model, started when it is first used.

Adapters share the server of their base model. A server ends by itself when nobody asks it anything for a while; the
next use starts it again.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow._version import __version__
from promptflow.connections.localmodel import EMBEDDED, LocalModel, find_local
from promptflow.connections.models import LocalConnection
from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import make_folder, write_whole
from promptflow.workspace.home import DATABASE_VARIABLE, HOME_VARIABLE
from promptflow.workspace.locks import file_lock

NAME = "local"
DEFAULT_MODEL = EMBEDDED
SERVER_MODULE = "serve.engines.server"  # by name: this package imports nothing above it
KEY_VARIABLE = "PF_ENGINE_KEY"
IDLE_SECONDS = 600.0
START_SECONDS = 600.0  # a large model takes minutes to read; a server that ends meanwhile is seen at once
_TRUST_SECONDS = 5.0  # so long a server that answered is taken to be there
_POLL_SECONDS = 0.02


def is_local(name: str) -> bool:
    """``local``, or ``local:MODEL`` for another model than the built-in one."""
    return name == NAME or name.startswith(f"{NAME}:")


def model_of(name: str) -> str:
    return name.partition(":")[2] or DEFAULT_MODEL


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is served, and what requests call it there."""

    url: str
    model: str


class RunningLocalConnection(LocalConnection):
    """A local connection whose servers are looked after: each is started when a model of it is first used, and again
    if it has ended. Reading ``base_url`` starts that of the connection's own model."""

    def __init__(self, model: str, workspace: Workspace, module: str = SERVER_MODULE, **kwargs: Any) -> None:
        super().__init__(model=model, api_key=_key(workspace), **kwargs)
        self._workspace, self._module = workspace, module
        self._known: dict[str, tuple[float, LocalModel]] = {}
        self._servers: dict[str, LocalServer] = {}

    @property
    def base_url(self) -> str | None:
        return self.place("").url

    def __getitem__(self, key: str) -> Any:
        return self.base_url if key == "base_url" else super().__getitem__(key)

    def _to_execution_connection_dict(self) -> dict[str, Any]:
        found = super()._to_execution_connection_dict()
        found["value"]["base_url"] = self.base_url
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process looks after the servers by itself.
        home, database_url = str(self._workspace.home), self._workspace.database_url
        return _again, (self.model, home, database_url, self._module, self.name)

    def place(self, model: str) -> Place:
        """Where ``model``, or the connection's own, is served now. Blocks while its server starts."""
        found = self.found(model)
        return Place(self._server(found).url(), found.asked)

    def place_if_known(self, model: str) -> Place | None:
        """The same where it was asked for a moment ago; else None, and nothing is waited for."""
        known = self._known.get(model)
        server = self._servers.get(known[1].folder) if known is not None and _is_fresh(known[0]) else None
        url = server.known_url() if server is not None else ""
        return Place(url, known[1].asked) if url and known is not None else None

    def found(self, model: str) -> LocalModel:
        """What the name of a model means now. An error says which models there are."""
        known = self._known.get(model)
        if known is None or not _is_fresh(known[0]):
            known = time.monotonic(), find_local(model or self.model or DEFAULT_MODEL, self._workspace)
            self._known[model] = known
        return known[1]

    def _server(self, found: LocalModel) -> LocalServer:
        return self._servers.setdefault(found.folder, LocalServer(found, self._workspace, self._module))


def _again(model: str, home: str, database_url: str, module: str, name: str | None) -> RunningLocalConnection:
    return RunningLocalConnection(model, Workspace.open(home, database_url), module, name=name)


def connect(model: str, workspace: Workspace, *, module: str = SERVER_MODULE) -> RunningLocalConnection:
    """The connection to the servers of this workspace, for ``model`` where no other is named. Others that want a server
    at once share it."""
    name = NAME if model == DEFAULT_MODEL else f"{NAME}:{model}"
    return RunningLocalConnection(model, workspace, module, name=name)


class LocalServer:
    """The server process of one model in one workspace, and of all adapters of it."""

    def __init__(self, model: LocalModel, workspace: Workspace, module: str = SERVER_MODULE) -> None:
        self.model = model.server
        # Without the version: a server that an older release has started is replaced.
        self.process = f"engine {model.server}"
        self._workspace = workspace
        self._module = module
        self._folder = _engines(workspace) / model.folder
        self._seen: tuple[float, str] | None = None
        self._failed: tuple[float, WorkspaceError] | None = None

    def known_url(self) -> str:
        """Its address if it was there a moment ago, else nothing."""
        return self._seen[1] if self._seen is not None and _is_fresh(self._seen[0]) else ""

    def url(self) -> str:
        """``http://127.0.0.1:PORT/v1``, of a server that answers."""
        if known := self.known_url():
            return known
        if self._failed is not None and _is_fresh(self._failed[0]):
            raise self._failed[1]  # the lines of a batch do not each start it in vain
        port = self._answering_port()
        if port is None:
            make_folder(self._folder)
            with file_lock(self._folder / "lock", timeout=2 * START_SECONDS):
                port = self._answering_port() or self._start()
        self._seen = (time.monotonic(), f"http://127.0.0.1:{port}/v1")
        return self._seen[1]

    def stop(self) -> None:
        process = self._workspace.processes.get(self.process)
        if process is not None and process.is_running:
            self._workspace.processes.stop(self.process)
        self._seen = None

    @property
    def _port_file(self) -> Path:
        return self._folder / "port"

    def _answering_port(self) -> int | None:
        try:
            port = int(self._port_file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return port if _is_healthy(port) else None

    def _start(self) -> int:
        """Called under the lock."""
        processes = self._workspace.processes
        known = processes.get(self.process)
        if known is not None and known.is_running:
            processes.stop(self.process)  # it neither answers nor starts: whoever started it waited for that
        self._port_file.unlink(missing_ok=True)
        idle = float(self._workspace.settings.get("local.idle_seconds") or IDLE_SECONDS)
        # -P: the folder that a flow runs in may hold a `serve.py` of its own.
        argv = [sys.executable, "-P", "-m", self._module, "--model", self.model, "--host", "127.0.0.1", "--port", "0"]
        argv += ["--port-file", str(self._port_file), "--idle", str(idle)]
        env = {KEY_VARIABLE: _key(self._workspace), HOME_VARIABLE: str(self._workspace.home)}
        env |= {DATABASE_VARIABLE: self._workspace.database_url} if self._workspace.database_url else {}
        processes.start(self.process, argv, env=env, cwd=self._folder)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            port = self._answering_port()
            if port is not None:
                return port
            process = processes.get(self.process)
            if process is None or not process.is_running:
                raise self._no_start("it ended at once")
            time.sleep(_POLL_SECONDS)
        processes.stop(self.process)
        raise self._no_start(f"it did not answer within {START_SECONDS:g} s")

    def _no_start(self, why: str) -> WorkspaceError:
        log = self._workspace.processes.tail(self.process, 5).strip()
        last = log.splitlines()[-1] if log else ""
        hint = "pip install 'promptflow[cpu]'" if "onnxruntime" in log or "tokenizers" in log else ""
        error = WorkspaceError(
            f"The server of the local model '{self.model}' did not start: {why}. {last}".strip(),
            hint=hint or f"see {self._workspace.processes.log_path(self.process)}",
        )
        self._failed = time.monotonic(), error
        return error


def _engines(workspace: Workspace) -> Path:
    """Where the servers of this release leave their ports: those of another one are not used."""
    return workspace.home / "engines" / __version__


def _key(workspace: Workspace) -> str:
    """What this workspace's servers want as their API key: only this user's programs can read it."""
    file = _engines(workspace) / "key"
    if not file.exists():
        make_folder(file.parent)
        with file_lock(file.with_name("key.lock")):
            if not file.exists():
                write_whole(file, os.urandom(24).hex().encode(), mode=0o600)
    return file.read_text()


def _is_fresh(moment: float) -> bool:
    return time.monotonic() - moment < _TRUST_SECONDS


def _is_healthy(port: int) -> bool:
    # Imported here: it takes longer than all else that a flow without a local model imports of this package.
    # Not urllib: whatever proxy the environment names, this is the loopback interface.
    from http.client import HTTPConnection, HTTPException

    connection = HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
