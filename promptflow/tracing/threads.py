"""A thread pool whose threads see the caller's current span."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any


class ThreadPoolExecutorWithContext(ThreadPoolExecutor):
    """``ThreadPoolExecutor`` whose work runs in the context of whoever submits it, so that its spans have a parent."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, fn, *args, **kwargs)
