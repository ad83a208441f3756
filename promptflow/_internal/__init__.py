"""Door: what tool packages and their users import from ``promptflow._internal``.

A package, as it is in Microsoft's wheels: were it a module, their leftover folder of this name would win over it.
"""

from promptflow._lazy import lazy

_NAMES = {
    "ConnectionManager": "promptflow._core.connection_manager",
    "ErrorResponse": "promptflow._utils.exception_utils",
    "ExceptionPresenter": "promptflow._utils.exception_utils",
    "ToolProvider": "promptflow.tooling.decorator",
    "add_metric_logger": "promptflow.tracing.metrics",
    "enable_cache": "promptflow._core.tools_manager",
    "log_metric": "promptflow.tracing.metrics",
    "register_api_method": "promptflow._core.tools_manager",
    "register_apis": "promptflow._core.tools_manager",
    "register_builtin_method": "promptflow._core.tools_manager",
    "register_builtins": "promptflow._core.tools_manager",
    "tool": "promptflow.tooling.decorator",
    "trace": "promptflow.tracing",
}
__all__ = list(_NAMES)
__getattr__, __dir__ = lazy(__name__, _NAMES)
