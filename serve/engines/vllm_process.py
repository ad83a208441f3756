"""The process of a vLLM server: started, watched until it is well, stopped. It ends with the process that has it."""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from promptflow.exceptions import WorkspaceError
from promptflow.workspace import pids
from promptflow.workspace.processes import Process, Processes
from serve.bound import FOLDER, bound, end_group
from serve.engines.base import EngineClosedError, EngineFailedError
from serve.engines.remote import RemoteEngine
from serve.engines.vllm_control import Control
from serve.engines.vllm_flags import Start, command_line
from serve.engines.vllm_reasons import ending, reasons
from serve.installs import Install

MODULE = "vllm.entrypoints.openai.api_server"  # `vllm serve` does not start the build for processors
POLL = 0.1  # seconds
GRACE = 15.0  # seconds to end, when it is told to
TAIL = 400  # lines of the log that are looked at for the reason of a failure
MOST_NAMES = 100
# "Model loading took 14.99 GiB", "Available KV cache memory: 57.05 GiB", "Explicitly set (1.0/23.54) GiB for KV cache"
WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
CACHE = re.compile(r"(?:Available KV cache memory: |Explicitly set \()([\d.]+)")
ENVIRON = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_LOG_STATS_INTERVAL": "60",
    "VLLM_HOST_IP": "127.0.0.1",  # for what its processes say to each other
    "PYTHONUNBUFFERED": "1",
}


class StartError(EngineFailedError):
    """The server did not come up; the end of its log is in the message."""


class VllmProcess:
    """One server, for ``model`` in ``folder``, on a socket that only this user can open. It has its key by environment,
    and no command line shows one. ``remote`` sends requests to it, ``control`` is for all else."""

    def __init__(self, processes: Processes, install: Install, model: str, folder: Path, start: Start) -> None:
        self.processes, self.install, self.model, self.folder = processes, install, model, folder
        self.settings, self._key = start, secrets.token_urlsafe(24)
        # Not in the workspace: the path of a socket has 107 characters at most.
        self.place = Path(tempfile.mkdtemp(prefix="pf-vllm-"))
        self.socket = str(self.place / "http")
        self.control = Control(self.socket, self._key)
        self.remote = RemoteEngine(model, f"unix://{self.socket}", self._key, dialect="vllm")
        self.process: Process | None = None
        self._stopped = self._served = False

    def start(self, seconds: float) -> None:
        """Start it, and return when it answers. StartError; EngineClosedError where it was stopped meanwhile."""
        try:
            self.process = self._spawn()
            self._wait(time.monotonic() + seconds, seconds)
            self.remote.load()
            self._served = True
        except BaseException:
            self.stop()
            raise

    @property
    def alive(self) -> bool:
        process = self.process
        return process is not None and pids.is_running(process.pid, process.identity)

    @property
    def log(self) -> Path | None:
        return self.process.log if self.process is not None else None

    def stop(self) -> None:
        """End it, with all that it has started, and its requests; also while `start` waits for it, which then fails."""
        self._stopped = True
        try:
            self.remote.unload()
        finally:
            if self.process is not None:
                self.processes.stop(self.process.name, GRACE)
                if not pids.identity(self.process.pid):
                    end_group(self.process.pid)  # of a guard that was killed itself
            shutil.rmtree(self.place, ignore_errors=True)

    def memory(self) -> tuple[int, int]:
        """Bytes of weights and of the KV cache, as its log tells; 0 where it does not."""
        text = self.log.read_text("utf-8", "replace") if self.log is not None else ""
        return tuple(
            int(float(found[-1]) * (1 << 30)) if found else 0 for found in (WEIGHTS.findall(text), CACHE.findall(text))
        )  # type: ignore[return-value]

    def last_words(self) -> str:
        """Why it failed, as far as its log tells, and how the log ends."""
        if self.process is None:
            return ""
        text = self.processes.tail(self.process.name, TAIL)
        found = [f"  {reason}" for reason in reasons(text, self._served)]
        end = ending(text)
        return "\n".join([*found, f"its log ends with:\n{end}" if end else ""])

    def _words(self) -> Sequence[str]:
        flags = {"model": str(self.folder), "served_model_name": self.model, "uds": self.socket}
        line = command_line({**flags, **self.settings.flags})
        return bound([str(self.install.python), "-P", "-m", MODULE, *line])

    def _spawn(self) -> Process:
        sleeps = {"VLLM_SERVER_DEV_MODE": "1"} if self.settings.flags.get("enable_sleep_mode") else {}
        environ = {
            **ENVIRON, **sleeps, **self.settings.environ,
            "VLLM_API_KEY": self._key, "VLLM_RPC_BASE_PATH": str(self.place), FOLDER: str(self.place),
        }  # fmt: skip
        details = {"engine": self.install.name, "model": self.model, "socket": self.socket}
        for number in range(1, MOST_NAMES):
            # Logs are kept by name: the same one for the same model, unless two servers have it at a time.
            name = f"vllm-{self.model[-120:]}" + (f"-{number}" if number > 1 else "")
            known = self.processes.get(name)
            if known is not None and known.is_running:
                continue
            try:
                return self.processes.start(
                    name, self._words(), env=environ, cwd=self.install.python.parent, details=details
                )
            except WorkspaceError:
                known = self.processes.get(name)
                if known is None or not known.is_running:
                    raise
        raise StartError(f"{MOST_NAMES} processes run '{self.model}' already.", hint="pf engine logs")

    def _wait(self, deadline: float, seconds: float) -> None:
        while not self.control.healthy():
            alive = self.alive  # before the other look: it may be dead because it was stopped
            if self._stopped:
                raise EngineClosedError(f"The model '{self.model}' is not loaded.")
            if not alive:
                raise StartError(f"vLLM did not start with '{self.model}':\n{self.last_words()}", hint=self._hint())
            if time.monotonic() > deadline:
                raise StartError(
                    f"vLLM was not ready with '{self.model}' after {seconds:g} s:\n{self.last_words()}",
                    hint=f"--option start_seconds={2 * seconds:g}, if it only needs longer; {self._hint()}",
                )
            time.sleep(POLL)

    def _hint(self) -> str:
        return f"pf engine logs {self.model}"
