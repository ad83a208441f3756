"""The part of an instance on a Ray cluster that runs on a node: an actor that only holds the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from promptflow._version import __version__
from promptflow.batch.ray_files import unpack
from promptflow.exceptions import UserErrorException
from promptflow.workspace import pids
from serve.bound import members
from serve.endpoints.spec import Spec
from serve.environments.build import Environments
from serve.placement.folder import SPEC
from serve.supervisor import memory

LOOK = 0.05  # seconds between looks at the process
POLL = 0.5  # seconds after which there is an answer, even if nothing happened
GRACE = 6.0  # seconds from SIGTERM to SIGKILL: less than the supervisor gives the one who asks
PIECE = 256 * 1024  # bytes of the log at once
LOG_BYTES = 64 * 1024 * 1024  # of the log on the node; all of it that was told is not needed there any more
_PREFIX = "pf-instance-"
_NOT_PASSED = ("RAY_", "PF_", "PYTHONBREAKPOINT")  # the cluster's token, and what is the node's own


class NodeInstance:
    """One instance. What it is given and returns needs no class of ours on the way."""

    def __init__(self) -> None:
        self._root: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._told = 0
        self._limit = 0
        self._why = ""

    async def start(self, archive: bytes, task: bytes) -> None:
        """Start the process from an archive of its folder. ``task``: JSON with its ``environ`` and our ``version``."""
        wanted = json.loads(task)
        if wanted["version"] != __version__:
            raise UserErrorException(
                f"The node has promptflow {__version__}, and the server {wanted['version']}.",
                hint="install the same version on both",
            )
        _sweep()
        root = self._root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        await asyncio.to_thread(unpack, archive, root / "files")
        spec = Spec.from_json(json.loads((root / "files" / SPEC).read_bytes()))
        self._limit = spec.memory_limit
        with self._log.open("ab", buffering=0) as log:

            def say(line: str) -> None:
                log.write(f"{line}\n".encode())

            python = await asyncio.to_thread(Environments(_home()).make, spec.environment, say)
            self._start(python, log, wanted["environ"])

    async def follow(self) -> tuple[bytes, dict[str, Any]]:
        """What was logged since the last time, and what is known: ``host`` and ``port`` once it listens, ``code`` and
        ``why`` once it has ended. Comes back when something happened, or after a while."""
        until = time.monotonic() + POLL
        while True:
            known = self._look()
            log = self._news()
            if log or "code" in known or time.monotonic() > until:
                return log, known
            await asyncio.sleep(LOOK)

    async def stop(self) -> None:
        """End the process, and remove what was unpacked."""
        process = self._process
        if process is not None:
            _signal(process.pid, signal.SIGTERM)
            until = time.monotonic() + GRACE
            while process.poll() is None and time.monotonic() < until:
                await asyncio.sleep(LOOK)
            self._end(process)
        if self._root is not None:
            await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)

    @property
    def _log(self) -> Path:
        assert self._root is not None
        return self._root / "log"

    def _start(self, python: Path, log: Any, environ: Mapping[str, str]) -> None:
        assert self._root is not None
        # Whatever ends this actor closes the pipe, which ends the process and all that it started.
        theirs, self._lifeline = os.pipe()
        own = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_PASSED)}
        words = [
            str(python), "-P", "-m", "serve.supervisor.start", str(theirs), "serve.placement",
            str(self._root / "files"), "--host", _address(), "--port", "0", "--announce", str(self._root / "port"),
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                words, env={**own, **environ, "PF_HOME_DIRECTORY": str(self._root / "home")}, pass_fds=(theirs,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)

    def _look(self) -> dict[str, Any]:
        assert self._process is not None and self._root is not None
        process, announced = self._process, self._root / "port"
        if self._limit and process.poll() is None and memory.used(process.pid) > self._limit:
            self._why = f"used more than its limit of {self._limit / 1e6:,.0f} MB of memory"
            _signal(process.pid, signal.SIGKILL)
            process.wait()
        known: dict[str, Any] = {}
        if announced.exists():
            known = {"host": _address(), "port": int(announced.read_text())}
        if process.poll() is not None:
            self._end(process)
            known |= {"code": process.returncode, "why": self._why}
        return known

    def _news(self) -> bytes:
        with self._log.open("rb") as file:
            file.seek(self._told)
            found = file.read(PIECE)
        self._told += len(found)
        if self._told > LOG_BYTES and not found:
            os.truncate(self._log, 0)
            self._told = 0
        return found

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """It, and whatever it left behind."""
        if process.poll() is None:
            _signal(process.pid, signal.SIGKILL)
        for pid in members(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _address() -> str:
    return str(import_module("ray").util.get_node_ip_address())


def _home() -> Path:
    """Of the node's user: environments that were made once are there the next time."""
    return Path(os.environ.get("PF_HOME_DIRECTORY") or Path.home() / ".promptflow")


def _sweep() -> None:
    """Remove what actors that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and pids.identity(int(pid)) is None and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
