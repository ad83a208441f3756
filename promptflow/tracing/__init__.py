"""Tracing: ``@trace``, ``start_trace``, and a thread pool that carries the current span."""

from promptflow._lazy import lazy
from promptflow._version import __version__

__all__ = ["ThreadPoolExecutorWithContext", "__version__", "start_trace", "trace"]
__getattr__, __dir__ = lazy(
    __name__,
    {
        "ThreadPoolExecutorWithContext": "promptflow.tracing.threads",
        "start_trace": "promptflow.tracing.start",
        "trace": "promptflow.tracing.decorate",
    },
)
