"""Tracing: ``@trace``, ``start_trace``, and a thread pool that carries the current span."""

from typing import TYPE_CHECKING

from promptflow._lazy import lazy
from promptflow._version import __version__

if TYPE_CHECKING:
    from promptflow.tracing.decorate import trace
    from promptflow.tracing.start import start_trace
    from promptflow.tracing.threads import ThreadPoolExecutorWithContext

__all__ = ["ThreadPoolExecutorWithContext", "__version__", "start_trace", "trace"]
__getattr__, __dir__ = lazy(
    __name__,
    {
        "ThreadPoolExecutorWithContext": "promptflow.tracing.threads",
        "start_trace": "promptflow.tracing.start",
        "trace": "promptflow.tracing.decorate",
    },
)
