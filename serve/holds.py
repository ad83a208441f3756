"""What a server uses of the registry, noted in the workspace for as long as it runs: nobody deletes it meanwhile."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from catalog.uses import RENEW_SECONDS, Uses, this_process
from promptflow.exceptions import UserErrorException, WorkspaceError
from promptflow.workspace import Workspace

logger = logging.getLogger(__name__)


class Holds:
    """The uses of this process. The first one opens the database: folders and built-in models need none."""

    def __init__(self, workspace: Callable[[], Workspace]) -> None:
        self.workspace = workspace
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._renewer: threading.Thread | None = None

    def hold(self, assets: Sequence[str]) -> None:
        """Once more; AssetNotFoundError where one was deleted meanwhile, and then none is held."""
        with self._lock:
            if new := [asset for asset in assets if not self._held[asset]]:
                self._note(new)
            self._held.update(assets)
            if new and self._renewer is None:
                self._renewer = threading.Thread(target=self._renew, name="holds", daemon=True)
                self._renewer.start()

    def release(self, assets: Sequence[str]) -> None:
        """Once less."""
        with self._lock:
            self._held.subtract(assets)
            for asset in {*assets}:
                if not self._held[asset]:
                    self._end(asset)

    def end(self) -> None:
        """Let go of all."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join()
            self._end("")

    def _note(self, assets: Sequence[str]) -> None:
        try:
            Uses(self.workspace()).hold(assets, this_process())
        except WorkspaceError as error:
            # No reason not to serve what can be read.
            logger.warning("the workspace does not note that %s is in use: %s", ", ".join(assets), error)

    def _end(self, asset: str) -> None:
        try:
            Uses(self.workspace()).end(this_process(), asset)
        except WorkspaceError as error:
            logger.warning("the workspace does not note that a use has ended: %s", error)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            with self._lock:
                try:
                    self._note([asset for asset, count in self._held.items() if count > 0])
                except UserErrorException as error:
                    logger.warning("what is served is not in the registry any more: %s", error)
