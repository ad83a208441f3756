"""`PFClient`, `load_flow`, `load_run`."""

from typing import Any

__all__ = ["PFClient", "load_flow", "load_run"]

# Lazy: loading one flow must not pay for runs, nor testing one for both.
_LAZY = {
    "PFClient": "promptflow.client.client",
    "load_flow": "promptflow.client.load",
    "load_run": "promptflow.client.run_yaml",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
