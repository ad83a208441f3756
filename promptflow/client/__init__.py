"""`PFClient`, `load_flow`, `load_run`."""

from promptflow.client.client import PFClient
from promptflow.client.load import load_flow, load_run

__all__ = ["PFClient", "load_flow", "load_run"]
