"""The life of a vLLM server: started, watched, started again, with the adapters that it is given, asleep and awake.

Whatever changes the server holds ``_change`` while it does, and may wait in there: for the process, or for requests to
end. So requests never take that lock; they come and go by ``_users``. And `stop` takes it last: it first says that all
is over, breaks the requests off and kills the process, so that whoever holds the lock lets go of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from catalog.machine import Machine
from promptflow.exceptions import PromptflowException
from promptflow.workspace.processes import Processes
from serve.engines.base import EngineClosedError, EngineFailedError, Stats
from serve.engines.remote import RemoteEngine
from serve.engines.remote_errors import RemoteError
from serve.engines.vllm_adapters import Adapter, adapter_rank
from serve.engines.vllm_control import ControlError, Refused, Unreachable, load_of
from serve.engines.vllm_figures import Figures
from serve.engines.vllm_flags import Asked, Lora, Start, start_for
from serve.engines.vllm_loaded import Loaded
from serve.engines.vllm_process import VllmProcess
from serve.engines.vllm_users import Users
from serve.engines.vllm_watcher import Watcher
from serve.installs import Install

METRICS_SECONDS = 1.0  # that it has to answer with its metrics
HEALTH_SECONDS = 5.0  # and to say that it is well
DOUBT_SECONDS = 10.0  # that requests wait for it to end, or to answer again, after one of them has failed
RESTARTS = 1  # after it died; the next time the router makes a new engine, which may have more memory by then

logger = logging.getLogger(__name__)


class VllmServer:
    """The server of one model, which is made for ``task``. ``machine`` is looked at anew for each start if none is
    given; ``seconds`` are what a start may take. Its process may be another one from time to time: requests wait.
    """

    def __init__(
        self,
        model: str,
        folder: Path,
        task: str,
        asked: Asked,
        room: Lora,
        processes: Processes,
        machine: Machine | None,
        seconds: float,
    ) -> None:
        self.model, self.folder, self.task, self.asked = model, folder, task, asked
        self.seconds = seconds
        self.context = 0  # of the newest process
        self._processes, self._machine = processes, machine
        self._users: Users[RemoteEngine] = Users(model)
        self._loaded = Loaded(model, room)
        self._install: Install | None = None
        self._start: Start | None = None
        self._process: VllmProcess | None = None
        self._figures = Figures()
        self._closed = self._asleep = False
        self._doubted = 0.0  # since when, or 0
        self._deaths = 0
        self._change = threading.RLock()  # one change of the server at a time
        self._watcher = Watcher(f"vllm {model}", self._look)

    @property
    def flags(self) -> Mapping[str, Any]:
        return self._start.flags if self._start is not None else {}

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._users.names)

    def expect(self, adapters: Sequence[Path]) -> None:
        """Room for these from the start."""
        self._loaded.expect(adapters)

    def start(self, install: Install) -> None:
        """Return when it answers; from then on it is watched."""
        self._closed, self._asleep, self._deaths = False, False, 0
        with self._change:
            self._install = install
            self._begin()
        self._watcher.start()

    def stop(self) -> None:
        self._closed = True
        self._users.shut(self._gone())
        process = self._process
        if process is not None:
            process.stop()  # before the lock: whoever holds it may wait for the server, or for its requests
        with self._change:
            self._end()
            self._users.shut(self._gone())  # whoever held the lock may have opened it
        self._watcher.join()

    @asynccontextmanager
    async def used(self, adapter: str = "") -> AsyncIterator[tuple[RemoteEngine, str]]:
        """What answers one request, and its name for the adapter; waits while it changes. AdapterNotFoundError."""
        async with self._users.server(adapter) as (remote, called):
            with self._noticed(remote):
                yield remote, called or self._loaded.base

    def load_adapter(self, name: str, folder: Path) -> None:
        """Requests for ``name`` get this one; returns when those that use the one before are done."""
        rank = adapter_rank(folder)
        with self._change:
            self._must_run()
            adapter = self._loaded.numbered(name, folder, rank)
            if not self._loaded.room.holds(rank):
                self._make_room(rank)
            process = self._must_run()
            with self._noticed(process.remote):
                if not self._loaded.base and not self._on_gpu:
                    self._put_zeros(process, adapter)
                self._loaded.put(process, name, adapter)
            before = self._users.name(name, adapter.called)
        if before is not None:
            self._retire(before)

    def unload_adapter(self, name: str) -> None:
        """Requests for it are refused; returns when those that use it are done."""
        with self._change:
            called = self._users.unname(name)
            self._loaded.forget(name)
        self._retire(called)

    def sleep(self) -> bool:
        """The weights go to main memory, if they fit in there, and the cache is given up."""
        with self._change:
            process = self._process
            if process is None or not self._can_sleep(process):
                return False
            self._users.pause()
            try:
                process.control.post("/sleep?level=1")
            except ControlError as error:
                logger.warning("%s does not sleep: %s", self.model, error)
                self._users.open(process.remote)
                self._watcher.now()
                return False
            self._asleep = True
            return True

    def wake(self) -> None:
        with self._change:
            process = self._process
            if process is None or not process.alive:
                raise EngineClosedError(f"The model '{self.model}' ended while it slept.")
            try:
                process.control.post("/wake_up")
            except ControlError as error:
                raise EngineFailedError(f"The model '{self.model}' does not wake up: {error}") from error
            self._asleep = False
            self._users.open(process.remote)

    def stats(self) -> Stats:
        return self._figures.stats(self._start, "cuda" if self._on_gpu else "cpu")

    # -- under the lock --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Start a process with the adapters that are loaded, and open for requests; else it is as after `_end`."""
        assert self._install is not None
        machine = self._machine or Machine.here()
        start = start_for(self.folder, self.task, self._on_gpu, machine, self.asked, self._loaded.room)
        process = VllmProcess(self._processes, self._install, self.model, self.folder, start)
        self._start, self._process = start, process
        try:
            self._must_run()  # `stop` stops the process from here on; did it come before?
            process.start(self.seconds)
            self.context = process.remote.context
            self._figures.begin(process)
            self._loaded.put_all(process, zeros=not self._on_gpu)
            self._must_run()
        except BaseException:
            self._end()
            raise
        self._doubted = 0.0
        self._users.open(process.remote)

    def _end(self) -> None:
        """There is no process any more. What it did is counted with what the next one does."""
        process = self._process
        if process is not None and process.alive and not self._asleep:
            self._measure(process)
        self._loaded.base, self._process = "", None
        self._figures.end()
        if process is not None:
            process.stop()

    def _make_room(self, rank: int) -> None:
        """A process that takes adapters of this rank, once the requests of the present one are done; else one as
        before."""
        before, room = self._loaded.room, self._loaded.room.with_rank(rank)
        room.flags()  # says no before anything ends
        self._users.pause()
        self._users.wait()
        self._end()
        self._loaded.room = room
        try:
            self._begin()
        except Exception:
            self._loaded.room = before
            self._begin_again(f"The model '{self.model}' did not start again")
            raise

    def _begin_again(self, what: str) -> None:
        """Or be shut, with the reason: whatever it is, requests wait for one or the other."""
        try:
            self._begin()
        except Exception as error:
            if not isinstance(error, PromptflowException):
                logger.exception("%s", what)
            self._users.shut(EngineClosedError(f"{what}: {error}", hint=self._logs))

    def _put_zeros(self, process: VllmProcess, like: Adapter) -> None:
        """While no request runs that was sent without them."""
        self._users.pause()
        try:
            self._users.wait()
            self._loaded.put_zeros(process, like)
        finally:
            self._users.open(process.remote)

    def _can_sleep(self, process: VllmProcess) -> bool:
        if not self.flags.get("enable_sleep_mode") or not process.alive or self._asleep:
            return False
        return (self._machine or Machine.here()).available > 1.1 * self.stats().weights_bytes

    def _died(self, process: VllmProcess) -> None:
        logger.error("vLLM died with %s: %s", self.model, process.last_words())
        self._deaths += 1
        asleep = self._asleep
        self._users.pause()
        self._end()
        if asleep or self._deaths > RESTARTS:
            self._users.shut(EngineClosedError(f"vLLM died with '{self.model}', again.", hint=self._logs))
        else:
            self._begin_again(f"vLLM died with '{self.model}'")

    def _trusted(self, process: VllmProcess) -> bool:
        """Whether it may be well, though a request failed. If it is, those that wait go on."""
        try:
            process.control.get("/health", HEALTH_SECONDS)
        except Refused:  # its engine is dead, and it will end in a moment
            return False
        except Unreachable:  # it ends, or it is busy
            if time.monotonic() - self._doubted < DOUBT_SECONDS:
                return True
        self._doubted = 0.0
        if not self._asleep:
            self._users.open(process.remote)
        return True

    # -- without it ------------------------------------------------------------------------------------------------

    def _retire(self, called: str) -> None:
        """Forget an adapter that has no name any more, when nobody uses it."""
        self._users.wait(called)
        with self._change:
            process = self._process
            if process is None or not process.alive:
                return
            try:
                process.control.post("/v1/unload_lora_adapter", {"lora_name": called})
            except ControlError as error:
                logger.warning("%s keeps the adapter %s: %s", self.model, called, error)

    def _look(self, metrics: bool) -> bool:
        """Called by the watcher, as long as it is not stopped: does it live, and what does it do?"""
        with self._change:
            process = self._process
            if self._closed or process is None:
                return not self._closed
            if not process.alive or self._doubted and not self._trusted(process):
                self._died(process)
                return True
        if metrics and not self._asleep:
            self._measure(process)
        return True

    def _measure(self, process: VllmProcess) -> None:
        try:
            load = load_of(process.control.get("/metrics", METRICS_SECONDS).decode("utf-8", "replace"))
        except ControlError:
            return  # busy, or about to be found dead
        with self._change:
            if process is self._process:  # else it is counted already
                self._figures.read(load)

    @contextmanager
    def _noticed(self, remote: RemoteEngine) -> Iterator[None]:
        """What may be its death makes us look, and lets new requests wait until it is known. Before it ends, its API
        server says that its engine has failed."""
        try:
            yield
        except EngineFailedError:
            self._doubt(remote)
            raise
        except RemoteError as error:
            if error.http_status != 502:
                raise
            self._doubt(remote)
            raise EngineFailedError(f"vLLM failed with '{self.model}': {error}", hint=self._logs) from error

    def _doubt(self, remote: RemoteEngine) -> None:
        if self._users.doubt(remote):
            self._doubted = time.monotonic()
        self._watcher.now()

    def _must_run(self) -> VllmProcess:
        process = self._process
        if self._closed or process is None:
            raise self._gone()
        return process

    def _gone(self) -> EngineClosedError:
        return EngineClosedError(f"The model '{self.model}' is not loaded.")

    @property
    def _on_gpu(self) -> bool:
        return self._install is not None and self._install.device == "gpu"

    @property
    def _logs(self) -> str:
        return f"pf engine logs {self.model}"
