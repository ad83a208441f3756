"""`client.traces`: the traces of the workspace."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from promptflow.exceptions import UserErrorException
from promptflow.tracing.store import TraceStore
from promptflow.workspace import Workspace


class TraceOperations:
    """Listing, showing and exporting are `TraceStore`'s, which is ``store`` here."""

    def __init__(self, workspace: Workspace) -> None:
        self.store = TraceStore(workspace)

    def delete(
        self,
        run: str | None = None,
        collection: str | None = None,
        started_before: str | datetime | None = None,
        **kwargs: Any,
    ) -> int:
        """Delete traces for good, of a run or of a collection; says how many spans that are.

        The collection ``default`` needs ``started_before`` as well. ``dry_run=True`` only counts.
        """
        if bool(run) == bool(collection):
            raise UserErrorException("Give either a run or a collection.")
        if run and started_before:
            raise UserErrorException("started_before goes with a collection, not with a run.")
        if collection == "default" and not started_before:
            raise UserErrorException("The collection default needs started_before as well.")
        return self.store.delete(
            run=run, collection=collection, started_before=started_before, dry_run=bool(kwargs.get("dry_run"))
        )
