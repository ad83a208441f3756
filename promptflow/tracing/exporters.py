"""Where finished traces go: the workspace's spool by default, other takers when they are added."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from promptflow.tracing.spool import spool_for
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from promptflow.tracing.spans import Span

Exporter = Callable[[Sequence["Span"]], None]

_chosen: ContextVar[tuple[Exporter, ...] | None] = ContextVar("promptflow_exporters", default=None)
_added: list[Exporter] = []
_default: tuple[str | None, tuple[Exporter, ...]] | None = None


def active() -> tuple[Exporter, ...]:
    """The takers of a trace that starts now."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    global _default
    # The home may change while the process lives (tests, notebooks): it is looked at for every trace.
    home = os.environ.get("PF_HOME_DIRECTORY")
    if _default is None or _default[0] != home:
        _default = (home, (*of_workspace(Workspace.open()), *_added))
    return _default[1]


def of_workspace(workspace: Workspace) -> tuple[Exporter, ...]:
    """The spool of a workspace, or nothing when its ``trace.destination`` is none."""
    if str(workspace.settings.get("trace.destination") or "local").lower() == "none":
        return ()
    return (spool_for(workspace.traces_folder).append,)


def add(exporter: Exporter) -> None:
    """Hand every finished trace of this process to ``exporter`` too."""
    global _default
    if exporter not in _added:
        _added.append(exporter)
        _default = None


def remove(exporter: Exporter) -> None:
    global _default
    if exporter in _added:
        _added.remove(exporter)
        _default = None


@contextmanager
def export_to(*exporters: Exporter, workspace: Workspace | None = None) -> Iterator[None]:
    """Traces that start inside go to ``workspace`` and ``exporters`` only."""
    chosen = (*(of_workspace(workspace) if workspace else ()), *exporters)
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)
