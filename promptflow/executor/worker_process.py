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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promptflow
from promptflow.contracts.run import RunInfo
from promptflow.exceptions import WorkerDiedError
from promptflow.executor import wire
from promptflow.executor.threads import start_daemon
from promptflow.executor.worker import BOOT, Setup
from promptflow.llm import pressure

TAIL = 4000  # characters kept of what the process wrote to stdout and stderr at last
# What must be there when a process starts; the rest of its environment, where secrets may be, comes through the pipe.
_AT_THE_START = ("PATH", "PYTHON", "HOME", "LANG", "LC_", "TZ", "TMPDIR", "LD_", "DYLD_", "MALLOC_", "GLIBC_")
_FOLDER = str(Path(promptflow.__path__[0]).parent)
_PONG = 1.0  # seconds in which a process that still does anything answers
_END = 5.0  # seconds for what it has left to write when its work is done
_LAST_WORDS = 0.5  # seconds for what it sent before it died


OnNode = Callable[[RunInfo, bool], None]
OnWait = Callable[[float], None]


@dataclass
class _Request:
    """What it was asked and has not answered."""

    reply: asyncio.Future[tuple[Any, ...]]
    on_node: OnNode | None = None
    on_wait: OnWait | None = None


class WorkerProcess(asyncio.Protocol):
    """One process. All methods but ``kill`` belong to the event loop that started it."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._messages = wire.Messages()
        self._requests: dict[int, _Request] = {}
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._exited = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._pong = asyncio.Event()
        self._died: WorkerDiedError | None = None
        self._tail = _Tail()
        self.usable = True
        self.asked = 0  # requests so far
        ours, self.process = _start(setup.environment)
        self._watching = loop.create_task(self._watch(ours))

    async def ready(self) -> None:
        """Wait until it has loaded the flow. Raises what kept it from that."""
        await asyncio.wait({self._ready, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            self._watching.result()
        self._ready.result()

    async def ask(
        self, kind: str, number: int, *rest: Any, on_node: OnNode | None = None, on_wait: OnWait | None = None
    ) -> tuple[Any, ...]:
        """Its reply to a request, which has a number that no other has meanwhile. ``on_node`` gets the records of nodes
        that end, as they do, and whether their values came through as they were; ``on_wait`` the seconds for which the
        limits of a connection make it wait, before it does.

        Raises WorkerDiedError, and what ``on_node`` raises.
        """
        if self._died is not None:
            raise self._died
        self.asked += 1
        request = self._requests[number] = _Request(asyncio.get_running_loop().create_future(), on_node, on_wait)
        self._transport.write(wire.pack_all((kind, number, *rest)))
        try:
            return await request.reply
        finally:
            del self._requests[number]

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
        if self.usable and not self._requests:
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
        await self._exited.wait()
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
        for request in self._requests.values():
            if not request.reply.done():
                request.reply.set_exception(self._died)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        if hasattr(os, "waitid"):  # its number is its own until it is waited for
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(self.process.pid)  # what it started is nobody's now
        self.process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._exited.set)

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
            case ("node" | "changed node" as kind, number, info) if number in self._requests:
                self._tell(self._requests[number], info, kind == "node")
            case ("wait", number, seconds) if number in self._requests:
                if (on_wait := self._requests[number].on_wait) is not None:
                    on_wait(seconds)
            case ("reply", number, *rest) if number in self._requests:
                reply = self._requests[number].reply
                if not reply.done():
                    reply.set_result(tuple(rest))
            case ("log", name, level, text):
                logging.getLogger(name).log(level, "%s", text)
            case ("throttled", seconds, refused):
                pressure.tell(seconds, refused=refused)
            case ("pong",):
                self._pong.set()
            case ("ready",):
                self._ready.set_result(None)
            case ("failed", error):
                self._ready.set_exception(error)

    def _tell(self, request: _Request, info: RunInfo, as_it_was: bool) -> None:
        if request.on_node is None:
            return
        try:
            request.on_node(info, as_it_was)
        except BaseException as error:  # it could not be written
            if not request.reply.done():
                request.reply.set_exception(error)


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
            env={name: environment[name] for name in environment if name.startswith(_AT_THE_START)},
        )
    ours.setblocking(False)
    return ours, process


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _death(status: int, tail: str) -> WorkerDiedError:
    """What a process died of. ``status`` as subprocess has it: negative for a signal."""
    cause = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    last = f"; its last output:\n{tail}" if tail else ""
    killed = status in (-signal.SIGKILL, -signal.SIGTERM)
    return WorkerDiedError(cause + last, killed=killed, hint="was the system out of memory?" if killed else "")
