"""``python -m serve.engines.server``: one model behind a port, until it is stopped or nobody asks any more."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn

from promptflow.exceptions import UserErrorException
from promptflow.workspace.atomic import write_whole
from serve.engines import open_engine
from serve.engines.api import Activity, create_app
from serve.engines.base import Engine

KEY = "PF_ENGINE_KEY"


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        engine = open_engine(args.model)
        engine.load()
        serve(engine, listen(args.host, args.port), args.port_file, args.idle)
    except UserErrorException as error:
        print(f"{error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.engines.server", description=__doc__)
    result.add_argument("--model", required=True, help="builtin/NAME, fake/echo, or a folder that holds model.onnx")
    result.add_argument("--host", default="127.0.0.1")
    result.add_argument("--port", type=int, default=0, help="0 takes a free one")
    result.add_argument("--port-file", type=Path, help="gets the port once requests are answered; removed at the end")
    result.add_argument("--idle", type=float, default=0, help="stop after so many seconds without a request; 0: never")
    return result


def listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left at 0 asyncio does not turn Nagle's algorithm off, and every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserErrorException(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
    return listener


class EngineServer(uvicorn.Server):
    """Says when it is ready, stops when idle, and ends a stop by signal as a normal end."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], activity: Activity, idle: float) -> None:
        super().__init__(config)
        self.ready, self.activity, self.idle = ready, activity, idle

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def on_tick(self, counter: int) -> bool:
        stop = await super().on_tick(counter)
        return stop or 0 < self.idle <= self.activity.idle_seconds()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn's own raises the signal again afterwards, which would end the process before it has tidied up.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, setattr, self, "should_exit", True)
        yield


def serve(engine: Engine, listener: socket.socket, port_file: Path | None, idle: float) -> None:
    """Answer requests with a loaded engine until stopped; then leave neither port file nor engine behind."""
    activity = Activity()
    app = create_app(engine, os.environ.get(KEY, ""), activity)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=5)

    def ready() -> None:
        if port_file is not None:
            write_whole(port_file, str(listener.getsockname()[1]).encode())

    try:
        asyncio.run(EngineServer(config, ready, activity, idle).serve([listener]))
    finally:
        if port_file is not None:
            port_file.unlink(missing_ok=True)
        engine.unload()


if __name__ == "__main__":
    sys.exit(main())
