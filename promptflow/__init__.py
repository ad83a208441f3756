"""Prompt flow, at home on your own machines. Public names are imported when they are first used."""

from promptflow._lazy import lazy
from promptflow._version import __version__

_NAMES = {
    "PFClient": "promptflow.client",
    "ToolProvider": "promptflow.tooling.decorator",
    "load_flow": "promptflow.client",
    "load_run": "promptflow.client",
    "log_flow_metric": "promptflow.tracing.metrics",
    "log_metric": "promptflow.tracing.metrics",
    "tool": "promptflow.tooling.decorator",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy(__name__, _NAMES)
