"""The built-in connection ``local``: a model server on this machine, started when it is first used.

The server ends by itself when nobody asks it anything for a while; the next use starts it again.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from promptflow.connections.models import LocalConnection
from promptflow.exceptions import WorkspaceError
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import make_folder, write_whole
from promptflow.workspace.locks import file_lock

NAME = "local"
DEFAULT_MODEL = "builtin/intent-mini"
SERVER_MODULE = "serve.engines.server"  # by name: this package imports nothing above it
KEY_VARIABLE = "PF_ENGINE_KEY"
IDLE_SECONDS = 600.0
START_SECONDS = 60.0
_TRUST_SECONDS = 5.0  # so long a server that answered is taken to be there
_POLL_SECONDS = 0.02


def is_local(name: str) -> bool:
    """``local``, or ``local:MODEL`` for another model than the built-in one."""
    return name == NAME or name.startswith(f"{NAME}:")


def model_of(name: str) -> str:
    return name.partition(":")[2] or DEFAULT_MODEL


class RunningLocalConnection(LocalConnection):
    """A local connection whose server is looked after: reading ``base_url`` starts it again if it has ended."""

    def __init__(self, model: str, server: LocalServer, **kwargs: Any) -> None:
        self._server: LocalServer | None = None
        super().__init__(model=model, **kwargs)
        self._server = server
        self.secrets["api_key"] = server.key()
        self.configs["base_url"] = server.url()

    @property
    def base_url(self) -> str | None:
        if self._server is not None:
            self.configs["base_url"] = self._server.url()
        return self.configs.get("base_url")


def connect(model: str, workspace: Workspace, *, module: str = SERVER_MODULE) -> LocalConnection:
    """The connection to the server of ``model``, started if need be. Others that want it at once share it."""
    name = NAME if model == DEFAULT_MODEL else f"{NAME}:{model}"
    return RunningLocalConnection(model, LocalServer(model, workspace, module), name=name)


class LocalServer:
    """The server process of one model in one workspace."""

    def __init__(self, model: str, workspace: Workspace, module: str = SERVER_MODULE) -> None:
        self.model = model
        self.process = f"engine {model}"
        self._workspace = workspace
        self._module = module
        self._folder = workspace.home / "engines" / quote(model, safe="")
        self._seen: tuple[float, str] | None = None

    def url(self) -> str:
        """``http://127.0.0.1:PORT/v1``, of a server that answers."""
        if self._seen is not None and time.monotonic() - self._seen[0] < _TRUST_SECONDS:
            return self._seen[1]
        port = self._answering_port()
        if port is None:
            with file_lock(self._folder / "lock", timeout=2 * START_SECONDS):
                port = self._answering_port() or self._start()
        self._seen = (time.monotonic(), f"http://127.0.0.1:{port}/v1")
        return self._seen[1]

    def key(self) -> str:
        """What the server wants as its API key: only this user's programs can read it."""
        self.url()
        return (self._folder / "key").read_text()

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
        key = self._read_or_make_key()
        processes = self._workspace.processes
        known = processes.get(self.process)
        if known is not None and known.is_running:
            processes.stop(self.process)  # it neither answers nor starts: whoever started it waited for that
        self._port_file.unlink(missing_ok=True)
        idle = float(self._workspace.settings.get("local.idle_seconds") or IDLE_SECONDS)
        # -P: the folder that a flow runs in may hold a `serve.py` of its own.
        argv = [sys.executable, "-P", "-m", self._module, "--model", self.model, "--host", "127.0.0.1", "--port", "0"]
        argv += ["--port-file", str(self._port_file), "--idle", str(idle)]
        processes.start(self.process, argv, env={KEY_VARIABLE: key}, cwd=self._folder)
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

    def _read_or_make_key(self) -> str:
        make_folder(self._folder)
        file = self._folder / "key"
        if not file.exists():
            write_whole(file, os.urandom(24).hex().encode(), mode=0o600)
        return file.read_text()

    def _no_start(self, why: str) -> WorkspaceError:
        log = self._workspace.processes.tail(self.process, 5).strip()
        last = log.splitlines()[-1] if log else ""
        hint = "pip install 'promptflow[cpu]'" if "onnxruntime" in log or "tokenizers" in log else ""
        return WorkspaceError(
            f"The server of the local model '{self.model}' did not start: {why}. {last}".strip(),
            hint=hint or f"see {self._workspace.processes.log_path(self.process)}",
        )


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
