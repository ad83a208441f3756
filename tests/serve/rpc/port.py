"""The stage of the gateway's tests with a port for gRPC, on the same event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from serve.gateway.gateway import MAX_BODY
from serve.rpc.messages import SERVICE, message
from serve.rpc.server import listening
from serve.scorers.app import ScorerApp
from serve.scorers.model import ModelScorer
from tests.serve.gateway.stage import Stage, stage

KEY = (("authorization", "Bearer first-key"),)


class Client:
    """The protocol's calls by hand: what no client of it would send can be sent, too."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def call(self, method: str, request: Any, metadata: Any = KEY, **options: Any) -> Any:
        """The answer to ``request``, a message or bytes."""
        answer = message(f"{method}Response")
        data = request if isinstance(request, bytes) else request.SerializeToString()
        ask = self._channel.unary_unary(f"/{SERVICE}/{method}", None, answer.FromString)
        return await ask(data, metadata=metadata, **options)

    def stream(self, requests: Any) -> Any:
        """The answers to a stream of requests."""
        ask = self._channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            lambda one: one.SerializeToString(),
            message("ModelStreamInferResponse").FromString,
        )
        return ask(iter(requests), metadata=KEY)

    async def refused(self, method: str, request: Any, metadata: Any = KEY, **options: Any) -> tuple[str, str]:
        """The code and the words of the error."""
        try:
            answer = await self.call(method, request, metadata, **options)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        raise AssertionError(f"it was answered: {answer}")


@contextlib.asynccontextmanager
async def rpc_stage(max_body: int = MAX_BODY) -> AsyncIterator[tuple[Stage, Client, int]]:
    async with stage(max_body) as it, listening(it.gateway, "127.0.0.1", 0) as port:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield it, Client(channel), port


def play(scene: Callable[[Stage, Client, int], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with rpc_stage(**options) as given:
            await scene(*given)

    asyncio.run(run())


def scored(model: Any) -> ScorerApp:
    """A model as its instance has it."""
    scorer = ModelScorer("blue", None)  # type: ignore[arg-type]
    scorer._model = model
    return ScorerApp(scorer, 4)
