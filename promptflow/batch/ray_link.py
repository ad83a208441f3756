"""The batch's end of the gateway to a Ray cluster: start actors, exchange lines with them, notice what is lost."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import promptflow
from promptflow.batch import ray_gateway
from promptflow.batch.ray_worker import Event, Task
from promptflow.exceptions import UserErrorException
from promptflow.executor import wire
from promptflow.executor.threads import pool

_FOLDER = str(Path(promptflow.__path__[0]).parent)
_END = 20.0  # seconds for a cluster of our own to end
_TAIL = 2000  # characters of what Ray wrote at last
_SHORT = "/tmp"  # Ray makes sockets in its folder, whose paths may have 107 characters


class Lost(Exception):
    """An actor, its node, or the way to it is gone."""


class Link:
    """One gateway process. All methods but ``kill`` belong to the event loop that connected it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._messages = wire.Messages()
        self._number = 0
        self._gone: UserErrorException | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, cpus: int, archive: bytes | None) -> int:
        """Join the cluster, or start one; how many processors it has. Raises why that cannot be done."""
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[int] = self._loop.create_future()
        parent = _SHORT if os.path.isdir(_SHORT) else None
        self._folder = Path(tempfile.mkdtemp(prefix="pf-ray-", dir=parent))
        self._log = open(self._folder / "gateway.log", "w+b")
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", ray_gateway.BOOT, str(theirs.fileno()), _FOLDER, str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C in the terminal is for the batch alone
                env=ray_gateway.environment(self._address, self._folder),
            )
        ours.setblocking(False)
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reading = asyncio.ensure_future(self._read(reader))
        self._send("connect", self._address, cpus, archive)
        return await self._connected

    async def start(self, task: Task) -> int:
        """Start an actor that has loaded the flow; its number. Waits for a processor if none is free.

        Raises Lost, and what kept the flow from being loaded.
        """
        self._number = number = self._number + 1
        failure = pickle.loads(await self._call(number, "start", number, pickle.dumps(task)))
        if failure is not None:
            raise failure
        return number

    async def exchange(self, number: int, lines: Sequence[Any], drop: bool) -> list[Event]:
        """Give an actor lines; what happened, as `NodeWorker.exchange` says. Raises Lost."""
        events: list[Event] = pickle.loads(await self._call(number, "exchange", number, pickle.dumps(lines), drop))
        return events

    async def stop(self, number: int) -> bytes:
        """End an actor that is done; the traces that it had left."""
        return await self._call(number, "stop", number)

    async def close(self) -> None:
        """Leave the cluster, and end one of our own. Nothing of it is left afterwards."""
        if self._writer is None:
            return
        self._gone = self._gone or UserErrorException("The batch has ended.")
        self._writer.close()
        try:
            await asyncio.wrap_future(pool.submit(lambda: self._process.wait(_END)))
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.wrap_future(pool.submit(self._process.wait))
        with suppress(asyncio.CancelledError):
            self._reading.cancel()
            await self._reading
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Leave at once; from any thread. The gateway sees it, and ends what it started."""
        writer = self._writer
        if writer is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(writer.transport.abort)

    # -- messages -------------------------------------------------------------------------------------------------
    def _send(self, *message: Any) -> None:
        assert self._writer is not None
        self._writer.write(wire.pack_all(message))

    async def _call(self, number: int, *message: Any) -> bytes:
        if self._gone is not None:
            raise self._gone
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answers[number] = answer
        self._send(*message)
        try:
            return await answer
        finally:
            del self._answers[number]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(2**20):
                for message in self._messages.feed(data):
                    self._take(message)
        self._gone = self._gone or self._ended()
        waiting: list[asyncio.Future[Any]] = [self._connected, *self._answers.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(self._gone)
        self._connected.exception()  # asked, lest asyncio complains that nobody did

    def _take(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("connected", cpus):
                self._connected.set_result(cpus)
            case ("refused", text):
                self._connected.set_exception(refused(self._address, text))
            case ("started" | "exchanged" | "stopped", number, answer) if number in self._answers:
                self._answers[number].set_result(answer)
            case ("lost", number, text) if number in self._answers:
                self._answers[number].set_exception(Lost(text))

    def _ended(self) -> UserErrorException:
        self._log.seek(0)
        last = self._log.read()[-_TAIL:].decode("utf-8", "replace").strip()
        return UserErrorException(f"The connection to the Ray cluster ended.{f' Ray wrote: {last}' if last else ''}")


def refused(address: str, text: str) -> UserErrorException:
    """What to say of a cluster that could not be joined: ``text`` is what Ray says."""
    if "No module named 'ray'" in text:
        return UserErrorException("Ray is not installed.", hint="pip install 'promptflow[ray]'")
    hint = ""
    if "uthentic" in text or "ConnectionError" in text:  # Ray does not say that it was the token
        hint = (
            "is it there, and is its token in the file that RAY_AUTH_TOKEN_PATH names (RAY_AUTH_MODE=disabled: none)?"
        )
    return UserErrorException(f"The Ray cluster cannot be used: {text}", location=address, hint=hint)
