"""Where everything is kept: `Workspace` is the one handle."""

from promptflow.workspace.workspace import Workspace

__all__ = ["Workspace"]
