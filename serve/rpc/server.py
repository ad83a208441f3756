"""The port that answers gRPC, on the event loop of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from promptflow.exceptions import UserErrorException
from serve.gateway.gateway import Gateway
from serve.rpc.service import Service

AT_ONCE = 1000  # calls; more are refused
GRACE_SECONDS = 8  # that calls in the works have, once the server is told to stop


@asynccontextmanager
async def listening(gateway: Gateway, host: str, port: int) -> AsyncIterator[int]:
    """Answer until the block ends; the port (0: a free one)."""
    options = [
        ("grpc.max_receive_message_length", gateway.max_body),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else two servers may listen at one port, and each gets some of the calls
    ]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=AT_ONCE)
    server.add_generic_rpc_handlers((Service(gateway),))
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise UserErrorException(f"Cannot listen on {host}:{port}.", hint="choose another --grpc-port") from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(GRACE_SECONDS)
