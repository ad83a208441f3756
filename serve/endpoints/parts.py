"""What deployments are made of: nobody deletes it while they are there."""

from __future__ import annotations

from collections.abc import Sequence

from catalog.uses import Uses
from promptflow.workspace import Workspace
from serve.endpoints.snapshots import Snapshots


class Parts:
    """The assets that the deployments of one workspace use."""

    def __init__(self, workspace: Workspace, snapshots: Snapshots) -> None:
        self._uses, self._snapshots = Uses(workspace), snapshots

    def hold(self, user: str, assets: Sequence[str], before: Sequence[str] = ()) -> None:
        """``user`` is made of these from now on, and no longer of others that it was made of ``before``."""
        self._uses.hold(assets, user)
        gone = sorted({*before} - {*assets})
        for asset in gone:
            self._uses.end(user, asset)
        self._snapshots.let_go(gone)

    def release(self, user: str, assets: Sequence[str]) -> None:
        """``user``, which was made of these, is no more."""
        self._uses.end(user)
        self._snapshots.let_go(assets)
