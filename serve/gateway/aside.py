"""The one thread that writes logs and captures: more of them would only hold more memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_WRITERS = ThreadPoolExecutor(1, thread_name_prefix="writes")


async def aside(work: Callable[P, T], *args: P.args, **values: P.kwargs) -> T:
    """The result of ``work``, done on that thread."""
    return await asyncio.get_running_loop().run_in_executor(_WRITERS, lambda: work(*args, **values))
