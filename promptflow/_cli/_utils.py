"""Door: what tool packages ask the command line for."""

from __future__ import annotations

from typing import NamedTuple


class AzureMLWorkspaceTriad(NamedTuple):
    """An Azure ML workspace; none is ever configured here."""

    subscription_id: str | None = None
    resource_group_name: str | None = None
    workspace_name: str | None = None


def get_workspace_triad_from_local() -> AzureMLWorkspaceTriad:
    """The Azure ML workspace of this machine: there is none."""
    return AzureMLWorkspaceTriad()


__all__ = ["AzureMLWorkspaceTriad", "get_workspace_triad_from_local"]
