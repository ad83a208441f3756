"""The cloud client's constructor over the local client."""

from __future__ import annotations

import logging
from typing import Any

from promptflow.client.client import PFClient as LocalClient

_logger = logging.getLogger(__name__)


class PFClient(LocalClient):
    """Takes the arguments of the cloud client, and works in the local workspace."""

    def __init__(
        self,
        credential: Any = None,
        subscription_id: str | None = None,
        resource_group_name: str | None = None,
        workspace_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(workspace=kwargs.get("workspace"))
        _logger.warning("The cloud service has ended: flows, runs and connections are those of %s", self.workspace.home)

    @classmethod
    def from_config(cls, credential: Any = None, **kwargs: Any) -> PFClient:
        """The client for a config.json, whose contents no longer matter."""
        return cls(credential)
