"""Door: `tool`, `Flow`, `Prompty` and what else Microsoft spelled ``promptflow.core``."""

from promptflow._lazy import lazy
from promptflow._version import __version__

_NAMES = {
    "AsyncFlow": "promptflow.executor.callable",
    "AsyncPrompty": "promptflow.executor.prompty",
    "AzureOpenAIModelConfiguration": "promptflow.connections.model_config",
    "Flow": "promptflow.executor.callable",
    "ModelConfiguration": "promptflow.connections.model_config",
    "OpenAIModelConfiguration": "promptflow.connections.model_config",
    "Prompty": "promptflow.executor.prompty",
    "ToolProvider": "promptflow.tooling.decorator",
    "idempotency_key": "promptflow.executor.idempotency",
    "log_metric": "promptflow.tracing.metrics",
    "tool": "promptflow.tooling.decorator",
}
__all__ = ["__version__", *_NAMES]
__getattr__, __dir__ = lazy(__name__, _NAMES)
