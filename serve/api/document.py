"""``python -m serve.api.document``: the OpenAPI document of the REST API, as ``docs/openapi.json`` has it."""

from __future__ import annotations

import json
from pathlib import Path

from promptflow._version import __version__
from promptflow.workspace import Workspace
from serve.api.rest import make_app
from serve.endpoints.store import EndpointStore


class _Nobody:
    """A server that does not run: enough to say what it would answer to."""

    key = ""

    def __init__(self) -> None:
        self.workspace = Workspace.open(Path("."), database_url="")
        self.store = EndpointStore(self.workspace)

    async def reload(self) -> int:
        return 0

    def deployment_status(self, endpoint: str, deployment: str) -> None:
        return None


def document() -> str:
    """As text, the same for the same API."""
    return json.dumps(make_app(_Nobody(), __version__).openapi(), indent=2, sort_keys=True)


if __name__ == "__main__":
    print(document())
