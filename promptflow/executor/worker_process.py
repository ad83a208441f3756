"""A worker process, seen from its parent: start it, have it run lines, kill it, and say what it died of."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promptflow
from promptflow.contracts.run import LineResult, RunInfo
from promptflow.exceptions import WorkerDiedError
from promptflow.executor import wire
from promptflow.executor.threads import start_daemon
from promptflow.executor.worker import BOOT, Setup

TAIL = 4000  # characters kept of what the process wrote to stdout and stderr at last
_FOLDER = str(Path(promptflow.__path__[0]).parent)
_PONG = 1.0  # seconds in which a process that still does anything answers
_END = 5.0  # seconds for what it has left to write when its work is done
_LAST_WORDS = 0.5  # seconds for what it sent before it died


@dataclass(frozen=True)
class Reply:
    """What a worker says of a line that ended."""

    result: LineResult
    printed: str
    out_of_memory: bool


OnNode = Callable[[RunInfo, bool], None]


@dataclass
class _Line:
    """A line in flight: who waits for it, and its nodes that ended so far, in order."""

    reply: asyncio.Future[Reply]
    on_node: OnNode
    nodes: dict[str, RunInfo] = field(default_factory=dict)


class WorkerProcess(asyncio.Protocol):
    """One process. All methods but ``kill`` belong to the event loop that started it."""

    def __init__(self, setup: Setup, environment: Mapping[str, str]) -> None:
        self._setup = setup
        self._messages = wire.Messages()
        self._lines: dict[int, _Line] = {}
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._disconnected = asyncio.Event()
        self._pong = asyncio.Event()
        self._died: WorkerDiedError | None = None
        self._tail = _Tail()
        self.usable = True
        self.ran = 0  # lines given to it so far
        ours, self.process = _start(environment)
        self._watching = loop.create_task(self._watch(ours))

    @property
    def busy(self) -> int:
        """Lines in flight."""
        return len(self._lines)

    async def ready(self) -> None:
        """Wait until it has loaded the flow. Raises what kept it from that."""
        await asyncio.wait({self._ready, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self._watching.result()
        self._ready.result()

    async def run(self, number: int, row: Mapping[str, Any], known: Mapping[str, RunInfo], on_node: OnNode) -> Reply:
        """Have it run one line. ``on_node`` gets the nodes that end, as they do, and whether their values came through
        as they were. Raises WorkerDiedError, and what ``on_node`` raises."""
        if self._died is not None:
            raise self._died
        self.ran += 1
        line = self._lines[number] = _Line(asyncio.get_running_loop().create_future(), on_node)
        self._transport.write(wire.pack_all(("line", number, row, known)))
        try:
            return await line.reply
        finally:
            del self._lines[number]

    async def responds(self) -> bool:
        """Whether its code still gets a turn."""
        self._pong.clear()
        self._transport.write(wire.pack_all(("ping",)))
        with suppress(TimeoutError):
            async with asyncio.timeout(_PONG):
                await self._pong.wait()
        return self._pong.is_set() and self._died is None

    async def end(self) -> None:
        """Let it go when it is idle and well; else, or if it does not go, kill it."""
        if self.usable and not self._lines:
            self.usable = False
            self._transport.write(wire.pack_all(("end",)))
            with suppress(TimeoutError):
                async with asyncio.timeout(_END):
                    await asyncio.shield(self._watching)
        self.kill()
        await self._watching

    def kill(self) -> None:
        """End it at once, and what it started; from any thread."""
        self.usable = False
        if self.process.returncode is None:
            _kill_group(self.process.pid)

    # -- its life -------------------------------------------------------------------------------------------------
    async def _watch(self, ours: socket.socket) -> None:
        """Talk to the process until it is gone; then tell everybody who waits for it."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, sock=ours)
        pipe, _ = await loop.connect_read_pipe(lambda: self._tail, self.process.stdout)
        self._transport.write(wire.pack_all(("setup", self._setup)))
        start_daemon("worker-exit", lambda: self._wait(loop))
        await self._exited
        # What it sent last is still on its way, unless something that it started keeps its end open.
        for ended in (self._disconnected, self._tail.ended):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    await ended.wait()
        self._transport.abort()
        pipe.close()
        self.usable = False
        self._died = _death(self.process.returncode, self._tail.text)
        if not self._ready.done():
            self._ready.set_exception(self._died)
        for line in self._lines.values():
            if not line.reply.done():
                line.reply.set_exception(self._died)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(os, "waitid"):  # its number is its own until it is waited for
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(self.process.pid)  # what it started is nobody's now
        self.process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._exited.set_result, None)

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._disconnected.set()
        self.kill()

    def data_received(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            self._take(message)

    def _take(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("node" | "changed node" as kind, number, info) if number in self._lines:
                line = self._lines[number]
                line.nodes[info.node] = info
                try:
                    line.on_node(info, kind == "node")
                except BaseException as error:  # it could not be written
                    if not line.reply.done():
                        line.reply.set_exception(error)
            case ("line", number, result, printed, out_of_memory) if number in self._lines:
                line = self._lines[number]
                result.node_run_infos = {**line.nodes, **result.node_run_infos}
                if not line.reply.done():
                    line.reply.set_result(Reply(result, printed, out_of_memory))
            case ("log", name, level, text):
                logging.getLogger(name).log(level, "%s", text)
            case ("pong",):
                self._pong.set()
            case ("ready",):
                self._ready.set_result(None)
            case ("failed", error):
                self._ready.set_exception(error)


class _Tail(asyncio.Protocol):
    """The last that a process wrote; the rest is dropped, however much it is."""

    def __init__(self) -> None:
        self._data = b""
        self.ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._data = (self._data + data)[-TAIL:]

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.set()

    @property
    def text(self) -> str:
        return self._data.decode("utf-8", "replace").strip()


def _start(environment: Mapping[str, str]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", BOOT, str(theirs.fileno()), _FOLDER],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            process_group=0,  # Ctrl-C in the terminal is for the parent alone
            env=dict(environment),
        )
    ours.setblocking(False)
    return ours, process


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _death(status: int, tail: str) -> WorkerDiedError:
    """What a process died of. ``status`` as subprocess has it: negative for a signal."""
    cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    last = f" Its last output:\n{tail}" if tail else ""
    hint = "the system may have run out of memory" if status == -signal.SIGKILL else ""
    return WorkerDiedError(f"The process that ran it died: {cause}.{last}", hint=hint)
