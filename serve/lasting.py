"""Work that goes on for as long as the server does, whatever goes wrong in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

AGAIN_SECONDS = 1.0

logger = logging.getLogger(__name__)


async def lasting(what: str, work: Callable[[], Awaitable[None]], pause: float = AGAIN_SECONDS) -> None:
    """Do ``work``, which has no end of its own, until cancelled: where it fails, that is logged, and it begins anew."""
    while True:
        try:
            return await work()
        except Exception:
            logger.exception("%s failed; it begins anew", what)
        await asyncio.sleep(pause)
