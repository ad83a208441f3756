"""The requests and tokens per minute of a connection, kept by this server together with all flows that use it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from promptflow.llm.throttle import Throttle, throttle_for
from serve.engines.base import PromptTooLongError
from serve.engines.remote_errors import RemoteError


def limits_of(connection: Any) -> Throttle | None:
    requests = getattr(connection, "requests_per_minute", None) or 0
    tokens = getattr(connection, "tokens_per_minute", None) or 0
    return throttle_for(connection, requests, tokens) if requests or tokens else None


@asynccontextmanager
async def kept_to(limits: Throttle | None, size: int, spent: Callable[[], int]) -> AsyncIterator[None]:
    """Within it, a request of so many bytes has its turn. ``spent`` tells its tokens at the end; 0: not known."""
    if limits is None:
        yield
        return
    reserved = limits.estimate(size)
    wait = limits.reserve(reserved) - time.monotonic()
    if wait > 0:
        await asyncio.sleep(wait)
    try:
        yield
    except (RemoteError, PromptTooLongError):
        limits.settle(size, reserved, 0)
        raise
    if tokens := spent():
        limits.settle(size, reserved, tokens)
