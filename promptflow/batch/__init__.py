"""Many lines through one flow."""

from typing import Any

__all__ = ["BatchEngine", "BatchResult"]

# Lazy: reading one data file must not pay for the engine and its event loop.
_LAZY = {"BatchEngine": "promptflow.batch.batch_engine", "BatchResult": "promptflow.batch.result"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
