"""Door: the private name under which tools annotate an assistant's functions."""

from promptflow.executor.assistant import AssistantTools as AssistantToolInvoker

__all__ = ["AssistantToolInvoker"]
