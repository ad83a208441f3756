"""Running flows: one line through a flow of any kind."""

from typing import Any

__all__ = ["FlowExecutor", "load_executor"]

_LAZY = {"FlowExecutor": "promptflow.executor.flow_executor", "load_executor": "promptflow.executor.loader"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
