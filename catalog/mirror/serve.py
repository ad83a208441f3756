"""Serve the mirror of a workspace on a port, until it is stopped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from catalog.mirror.app import create_app
from catalog.mirror.zerocopy import ZeroCopyProtocol
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import HttpServer


def serve(workspace: Workspace, listener: socket.socket, ready: Callable[[], None], hosts: Sequence[str] = ()) -> None:
    """Answer requests until SIGINT or SIGTERM; ``ready`` is called when it does."""
    app = create_app(workspace, hosts=hosts)
    asyncio.run(HttpServer(server_config(app), ready).serve([listener]))


def server_config(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves a mirror."""
    return uvicorn.Config(
        app,
        http=ZeroCopyProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )
