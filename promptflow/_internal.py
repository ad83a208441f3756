"""Door: what tool packages import from ``promptflow._internal``."""

from collections.abc import Callable
from typing import Any, TypeVar

from promptflow._lazy import lazy

F = TypeVar("F", bound=Callable[..., Any])

_NAMES = {
    "ToolProvider": "promptflow.tooling.decorator",
    "tool": "promptflow.tooling.decorator",
    "trace": "promptflow.tracing",
    "log_metric": "promptflow.tracing.metrics",
    "add_metric_logger": "promptflow.tracing.metrics",
}
__all__ = [
    "enable_cache",
    "register_api_method",
    "register_apis",
    "register_builtin_method",
    "register_builtins",
    *_NAMES,
]
__getattr__, __dir__ = lazy(__name__, _NAMES)


def _keep(f: F) -> F:
    return f


# Tool packages decorate their classes and functions with these. Our registry knows tools by their id and our cache
# by their source, so there is nothing left for them to do.
register_apis = register_api_method = register_builtins = register_builtin_method = enable_cache = _keep
