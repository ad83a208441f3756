"""Door: `PFClient` under an old private spelling."""

from promptflow.client import PFClient

__all__ = ["PFClient"]
