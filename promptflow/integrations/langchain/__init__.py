"""LangChain: its calls as spans, a flow as a Runnable, a Runnable in a flow. Needs ``promptflow[langchain]``."""

from typing import TYPE_CHECKING

from promptflow._lazy import lazy
from promptflow.workspace.optional import need

if TYPE_CHECKING:
    from promptflow.integrations.langchain.callbacks import PromptFlowCallbackHandler, trace_langchain
    from promptflow.integrations.langchain.functions import as_callable
    from promptflow.integrations.langchain.runnables import FlowRunnable

need("langchain_core", extra="langchain")

_NAMES = {
    "FlowRunnable": "promptflow.integrations.langchain.runnables",
    "PromptFlowCallbackHandler": "promptflow.integrations.langchain.callbacks",
    "as_callable": "promptflow.integrations.langchain.functions",
    "trace_langchain": "promptflow.integrations.langchain.callbacks",
}
__all__ = ["FlowRunnable", "PromptFlowCallbackHandler", "as_callable", "trace_langchain"]
__getattr__, __dir__ = lazy(__name__, _NAMES)
