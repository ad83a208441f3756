"""The process that is Ray's driver: it connects, starts actors, and passes bytes between them and its parent.

Apart from the batch, because a Ray that loses its head node ends the process that it is in, and because what Ray
writes, the signals it takes and the threads it starts would be the batch's. It ends when its parent does, and takes
a cluster with it that it started. Started as ``python -P -c BOOT <descriptor> <folder of promptflow> <own folder>``.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import time
from collections.abc import Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

from promptflow.batch.ray_worker import NodeWorker
from promptflow.executor import wire

BOOT = (
    "import sys; sys.path.append(sys.argv[2]); "
    "from promptflow.batch.ray_gateway import main; main(int(sys.argv[1]), sys.argv[3])"
)
LOCAL = "local"
# Of the environment; where keys may be is left out.
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_", "TZ", "TMPDIR", "LD_", "DYLD_", "VIRTUAL_ENV", "RAY_", "GRPC_")
_STORE = 128 * 2**20  # bytes for objects in a cluster of our own: chunks of lines pass by it
_AGAIN = (0.5, 2.0)  # seconds between attempts to join a cluster whose head node failed to take us in
_STOP = 10.0  # seconds that actors have to end their processes and remove what they unpacked


def main(descriptor: int, folder: str) -> None:
    """Serve the parent on this socket until it is gone."""
    try:
        asyncio.run(_Gateway(socket.socket(fileno=descriptor), Path(folder)).serve())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Gateway:
    """Messages from the parent: ``("connect", address, cpus, archive)``, ``("start", n, task)``,
    ``("exchange", n, lines, drop)``, ``("stop", n)``.

    To the parent: ``("connected", cpus)`` or ``("refused", text)``, then for actor ``n`` ``("started", n, answer)``,
    ``("exchanged", n, answer)``, ``("stopped", n, answer)`` and ``("lost", n, text)``.
    """

    def __init__(self, connection: socket.socket, folder: Path) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._folder = folder
        self._actors: dict[int, Any] = {}
        self._begun: set[int] = set()  # actors that have a processor
        self._calls: set[asyncio.Task[None]] = set()
        self._ray: Any = None

    async def serve(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._connection)
        messages = wire.Messages()
        try:
            while data := await reader.read(2**20):
                for message in messages.feed(data):
                    self._take(message)
        except ConnectionError:
            pass  # the parent was killed
        await self._leave()

    def _take(self, message: tuple[Any, ...]) -> None:
        match message:
            case ("connect", address, cpus, archive):
                self._connect(address, cpus, archive)
            case ("start", number, task):
                self._actors[number] = actor = self._actor.remote()
                self._call("started", number, lambda: actor.start.remote(task, self._archive))
            case ("exchange", number, lines, drop):
                actor = self._actors[number]
                self._call("exchanged", number, lambda: actor.exchange.remote(lines, drop))
            case ("stop", number):
                self._soon(self._stopped(number))

    def _connect(self, address: str, cpus: int, archive: bytes | None) -> None:
        try:
            self._ray = ray = import_module("ray")  # the one place that loads it
            join(ray, address, cpus, self._folder)
            self._archive = None if archive is None else ray.put(archive)
            self._actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(NodeWorker)
            self._send("connected", int(ray.cluster_resources().get("CPU", 0)))
        except BaseException as error:  # Ray raises whatever its layers do
            self._send("refused", f"({type(error).__name__}) {error}")

    def _call(self, kind: str, number: int, call: Any) -> None:
        async def run() -> None:
            try:
                answer = await call()
            except Exception as error:  # RayError: the actor, its node or the way to it is gone
                self._forget(number)
                self._send("lost", number, str(error))
            else:
                self._begun.add(number)
                self._send(kind, number, answer)

        self._soon(run())

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._calls.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._calls.discard)

    def _send(self, *message: Any) -> None:
        self._writer.write(wire.pack_all(message))

    async def _stopped(self, number: int) -> None:
        self._send("stopped", number, await self._stop(number))

    async def _stop(self, number: int) -> bytes:
        actor = self._actors.get(number)
        if actor is None:
            return b""
        try:
            if number not in self._begun:
                return b""
            async with asyncio.timeout(_STOP):
                return bytes(await actor.stop.remote())
        except Exception:  # gone already, or hanging: it is killed
            return b""
        finally:
            self._forget(number)

    def _forget(self, number: int) -> None:
        actor = self._actors.pop(number, None)
        if actor is not None:
            try:
                self._ray.kill(actor)
            except Exception:  # it is gone, which is all that is wanted
                pass

    async def _leave(self) -> None:
        await asyncio.gather(*(self._stop(number) for number in list(self._actors)))
        if self._ray is not None:
            self._ray.shutdown()


def join(ray: Any, address: str, cpus: int, folder: Path) -> None:
    """Join the cluster at ``address``, or start one of our own with at least ``cpus`` processors."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address != LOCAL:
        _join_running(ray, address, quiet)
        return
    ray.init(
        address=LOCAL,
        num_cpus=max(cpus, os.cpu_count() or 1),
        include_dashboard=False,
        object_store_memory=_STORE,
        _temp_dir=str(folder),
        **quiet,
    )


def _join_running(ray: Any, address: str, quiet: dict[str, Any]) -> None:
    """Through ``ray://`` the head node starts a process for each driver, and says so when that dies at birth: on a busy
    node it does now and then, and the next one lives."""
    for pause in _AGAIN:
        try:
            ray.init(address=address, **quiet)
            return
        except ConnectionAbortedError:
            time.sleep(pause)
    ray.init(address=address, **quiet)


def environment(address: str, folder: Path) -> dict[str, str]:
    """What the gateway's process is started with, and so Ray's own: no telemetry, authentication by token, no secrets.

    A cluster of our own gets a token that nobody else can read, unless the user has one.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    given.setdefault("RAY_AUTH_MODE", "token")
    if address == LOCAL and not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & given.keys():
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        given["RAY_AUTH_TOKEN_PATH"] = str(token)
    return {**given, "RAY_USAGE_STATS_ENABLED": "0"}
