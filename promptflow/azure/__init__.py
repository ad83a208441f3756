"""Door: code written for the retired cloud service, run in the local workspace."""

from promptflow.azure._client import PFClient
from promptflow.client import load_flow, load_run

__all__ = ["PFClient", "load_flow", "load_run"]
