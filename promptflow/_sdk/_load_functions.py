"""Door: the load functions under an old private spelling."""

from promptflow.client import load_flow, load_run
from promptflow.connections.yamlform import load_connection

__all__ = ["load_connection", "load_flow", "load_run"]
