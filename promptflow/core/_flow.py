"""Door: the private spelling that samples import."""

from promptflow.executor.callable import AsyncFlow, Flow
from promptflow.executor.prompty import AsyncPrompty, Prompty

__all__ = ["AsyncFlow", "AsyncPrompty", "Flow", "Prompty"]
