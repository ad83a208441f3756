"""Flows served on a real port of this process, by the server that `pf flow serve` runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from promptflow.serving.app import create_app
from promptflow.serving.options import ServeOptions
from promptflow.serving.server import Server, listen, url_of


class _ThreadServer(Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are for the main thread


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """The address of ``app`` while it answers."""
    listener: socket.socket = listen("127.0.0.1", 0)
    ready = threading.Event()
    server = _ThreadServer(app, ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    assert ready.wait(20)
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


Serve = Callable[..., httpx.Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(folder, init=…)`` -> a client of the flow, until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path, **options: Any) -> httpx.Client:
            app = create_app(ServeOptions.from_environment(source=str(folder), **options))
            url = stack.enter_context(running(app))
            return stack.enter_context(httpx.Client(base_url=url, timeout=30))

        yield start
