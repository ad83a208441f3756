"""One instance: a process, the socket that it answers on, and whether it is well."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from promptflow.exceptions import PromptflowException
from promptflow.workspace.atomic import write_whole
from serve.bound import members
from serve.endpoints.spec import Probe, Spec
from serve.endpoints.variables import plain
from serve.gateway.heads import request_head
from serve.gateway.instance import Instance
from serve.gateway.wire import Address, Connection, LostError, connect
from serve.placement.place import LOST
from serve.supervisor.decide import Phase
from serve.supervisor.places import open_log
from serve.supervisor.probing import Count

LIVE, READY = b"/", b"/ready"  # what an instance is asked to tell how it is
FAST_POLL = 0.03  # seconds between looks at one that is being started
LOOK_SECONDS = 1.0  # between looks at one that is well
DRAIN_SECONDS = 300.0  # that requests in flight have, once their instance is to go
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL
MOST_NOTES = 16 * 1024  # bytes of what an instance says when it is ready
HUNG_TIMEOUTS = 10  # requests in a row that only ever timed out, and then it is taken for hung

logger = logging.getLogger(__name__)

_MAKERS = ThreadPoolExecutor(4, thread_name_prefix="environment")  # pip takes minutes: it is not to hold others up


@dataclass(frozen=True)
class Launch:
    """What a process is started with. ``program`` goes after the interpreter, which ``interpreter`` makes first if it
    has to: it blocks, and is given who is to be told what it does. ``secrets`` are variables that are in no file.
    With ``elsewhere`` the process stands for one on another machine, and what it writes in the place of the socket says
    where that is."""

    interpreter: Callable[[Callable[[str], None]], Path]
    secrets: Callable[[], Mapping[str, str]]
    program: Sequence[str]
    spec: Spec
    spec_file: Path
    socket: Path
    log: Path
    environ: Mapping[str, str]
    elsewhere: bool = False


class Child:
    """``news`` is called whenever its phase changes. ``fault`` says why it ended, if nobody told it to; ``notes`` are
    what it said when it was ready."""

    def __init__(self, slot: int, generation: str, launch: Launch, news: Callable[[], None], lifeline: int) -> None:
        self.slot, self.generation, self.launch, self.news, self.lifeline = slot, generation, launch, news, lifeline
        self.instance = Instance(str(slot), str(launch.socket))
        self.instance.doubt = self._doubt
        self.spec = launch.spec  # whose probes count: another revision may have others, and need no other process
        self.phase = Phase.STARTING
        self.created = self.started = time.monotonic()
        self.was_ready = False
        self.ready_after = self.ready_at = 0.0
        self.exit_code: int | None = None
        self.fault = ""
        self.notes: tuple[str, ...] = ()
        self.pid = 0
        self._told_to_end = self._making = False
        self._doubted = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    @property
    def done(self) -> bool:
        return self._task.done()

    @property
    def draining(self) -> bool:
        return self.phase is Phase.DRAINING

    @property
    def lost(self) -> bool:
        """Whether its machine is gone: nothing that it did itself."""
        return self.launch.elsewhere and self.exit_code == LOST

    def drain(self) -> None:
        """Take no more requests; end when those in its hands are answered."""
        if not self.draining:
            self.phase = Phase.DRAINING
            self._told_to_end = True
            self.instance.close()
            self._doubted.set()
            if self._making:
                self._task.cancel()  # its environment may take minutes, and nobody wants it any more

    def give_up(self, fault: str) -> None:
        """End it at once because of ``fault``."""
        self.fault = fault
        self.instance.close()
        if self.pid:
            _signal(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Stop at once, as far as it lets itself be stopped."""
        self._told_to_end = True
        self.instance.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self) -> None:
        process = None
        try:
            process = await self._start()
            self.pid = process.pid
            await self._until_end(process)
        except OSError as error:
            self.fault = f"could not be started: {error.strerror}"
        except PromptflowException as error:
            hint = f" ({error.hint})" if error.hint else ""
            self.fault = f"could not be started: {error.message.rstrip('.')}{hint}"
        except Exception as error:
            logger.exception("instance %d could not be started", self.slot)
            self.fault = f"could not be started: {type(error).__name__}: {error}"
        finally:
            self.instance.close()
            if process is not None:
                await self._finish(process)
            for file in (self.launch.spec_file, self.launch.socket):
                file.unlink(missing_ok=True)
            self.news()

    async def _until_end(self, process: asyncio.subprocess.Process) -> None:
        """Until it ends, or is to be ended."""
        tasks = {asyncio.create_task(process.wait()), asyncio.create_task(self._watch())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self) -> asyncio.subprocess.Process:
        launch = self.launch
        log = await asyncio.to_thread(open_log, launch.log)
        try:
            self._making = True
            python = await asyncio.get_running_loop().run_in_executor(_MAKERS, launch.interpreter, _writer(log))
            self._making = False
            secrets = await asyncio.to_thread(launch.secrets)
            self.started = time.monotonic()
            spec = replace(launch.spec, variables=plain(launch.spec.variables))
            write_whole(launch.spec_file, json.dumps(spec.to_json()).encode(), mode=0o600)
            return await asyncio.create_subprocess_exec(
                str(python),
                *launch.program,
                env={**launch.environ, **secrets},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self.lifeline,),
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        """End what is left of it, and of whatever it started."""
        if process.returncode is None:
            _signal(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(GRACE_SECONDS):
                    await process.wait()
            except TimeoutError:
                _signal(process.pid, signal.SIGKILL)
        for pid in members(process.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self.exit_code = await process.wait()
        if not self._told_to_end and not self.fault:
            self.fault = "was lost with its node" if self.lost else _ended_with(self.exit_code)

    async def _watch(self) -> None:
        """Until it is ready, then for as long as it is well, then until it is drained. Returns when it is to end."""
        if await self._become_ready():
            await self._stay_well()
        if self.draining:
            deadline = time.monotonic() + DRAIN_SECONDS
            while self.instance.in_flight and time.monotonic() < deadline:
                await asyncio.sleep(FAST_POLL)

    async def _become_ready(self) -> bool:
        while self.phase is Phase.STARTING:
            probe = self.spec.readiness
            limit = probe.initial_delay + probe.period * probe.failure
            if self._listens() and await self._answers(READY, probe):
                self._set_ready(True)
                return True
            if time.monotonic() - self.started > limit:
                self.fault = f"was not ready within {limit:g} s (readiness_probe)"
                return False
            await asyncio.sleep(FAST_POLL)
        return False

    def _listens(self) -> bool:
        """Whether it can be asked how it is."""
        if not self.launch.socket.exists():
            return False
        if self.launch.elsewhere:
            self.instance.socket = Address(**json.loads(self.launch.socket.read_bytes()))
        return True

    async def _stay_well(self) -> None:
        spec = None
        while not self.draining:
            if spec is not self.spec:
                spec, now = self.spec, time.monotonic()
                alive = Count(LIVE, spec.liveness, self.started, now)
                ready = Count(READY, spec.readiness, self.started, now)
            await self._pause(min(LOOK_SECONDS, min(alive.due, ready.due) - time.monotonic()))
            if self.draining:
                return
            if self.instance.timeouts >= HUNG_TIMEOUTS:
                return self.give_up(f"answered none of {HUNG_TIMEOUTS} requests in time")
            now = time.monotonic()
            if alive.due <= now and alive.told(await self._answers(alive.path, alive.probe), now) is False:
                self.fault = f"failed {spec.liveness.failure} liveness probes"
                return
            if self._doubted.is_set() or ready.due <= now:
                self._doubted.clear()
                well = ready.told(await self._answers(ready.path, ready.probe), now)
                if well is not None:
                    self._set_ready(well)
                if self.phase is Phase.UNREADY:
                    ready.hurry(LOOK_SECONDS, now)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._doubted.wait()

    def _set_ready(self, ready: bool) -> None:
        if self.draining or ready == self.instance.ready:
            return
        self.phase = Phase.READY if ready else Phase.UNREADY
        self.instance.ready = ready
        if ready and not self.was_ready:
            self.was_ready = True
            self.ready_at = time.monotonic()
            self.ready_after = self.ready_at - self.started
        self.news()

    def _doubt(self) -> None:
        """Somebody could not connect: it is asked how it is, before others try."""
        if self.phase is Phase.READY:
            self.instance.ready = False
            self.phase = Phase.UNREADY
            self._doubted.set()
            self.news()

    async def _answers(self, path: bytes, probe: Probe) -> bool:
        connection = None
        try:
            async with asyncio.timeout(probe.timeout):
                connection = await connect(self.instance.socket)
                connection.ask(request_head("GET", path, b"", [], 0, b"probe"))
                await connection.head()
                if path == READY and connection.status == 200 and not self.was_ready:
                    self.notes = await _notes(connection)
                # An application without a page at / is as alive as one with: only /ready is for us alone.
                return connection.status == 200 or (path == LIVE and connection.status < 500)
        except (LostError, TimeoutError):
            return False
        finally:
            if connection is not None:
                connection.close()


async def _notes(connection: Connection) -> tuple[str, ...]:
    """The lines after the first."""
    told = b""
    while len(told) < MOST_NOTES and (piece := await connection.read()):
        told += piece
    return tuple(told[:MOST_NOTES].decode("utf-8", "replace").splitlines()[1:])


def _writer(log: int) -> Callable[[str], None]:
    """Writes lines to a log; the descriptor may be closed by the time the last one comes."""
    own = os.dup(log)

    def say(line: str) -> None:
        os.write(own, f"{line}\n".encode())

    weakref.finalize(say, os.close, own)
    return say


def _ended_with(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        return "was ended by SIGKILL, as the system does where memory is short"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
