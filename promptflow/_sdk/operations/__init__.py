"""Door: the operation classes under an old private spelling."""

from promptflow.client.connections import ConnectionOperations
from promptflow.client.flows import FlowOperations
from promptflow.client.runs import RunOperations
from promptflow.client.tools import ToolOperations

__all__ = ["ConnectionOperations", "FlowOperations", "RunOperations", "ToolOperations"]
