"""Where finished traces go: the workspace's spool by default, other takers when they are added."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING

from promptflow.tracing.spool import spool_for
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from promptflow.tracing.spans import Span

Exporter = Callable[[Sequence["Span"]], None]

_VARIABLES = (
    "PF_HOME_DIRECTORY",
    "PF_TRACE_DESTINATION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
_chosen: ContextVar[tuple[Exporter, ...] | None] = ContextVar("promptflow_exporters", default=None)
_added: list[Exporter] = []
_default: tuple[tuple[str | None, ...], tuple[Exporter, ...]] | None = None


def active() -> tuple[Exporter, ...]:
    """The takers of a trace that starts now."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    global _default
    # They may change while the process lives (tests, notebooks): they are looked at for every trace.
    key = tuple(map(os.environ.get, _VARIABLES))
    if _default is None or _default[0] != key:
        _default = (key, (*of_workspace(Workspace.open()), *_collectors(), *_added))
    return _default[1]


def of_workspace(workspace: Workspace) -> tuple[Exporter, ...]:
    """The spool of a workspace, or nothing when its ``trace.destination`` is none. A url is sent to as well."""
    destination = str(workspace.settings.get("trace.destination") or "local")
    if destination.lower() == "none":
        return ()
    own = spool_for(workspace.traces_folder).append
    return (own, *_sender(destination)) if destination.startswith(("http://", "https://")) else (own,)


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


def _collectors() -> tuple[Exporter, ...]:
    """The collector that OTEL_EXPORTER_OTLP_* name."""
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    url = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    return _sender(url or f"{base.rstrip('/')}/v1/traces") if url or base else ()


@lru_cache(maxsize=8)
def _sender(url: str) -> tuple[Exporter, ...]:
    # Imported when a url is given: few processes send their traces anywhere.
    from promptflow.tracing.otlp_out import exporter

    found = exporter(url)
    return (found.append,) if found is not None else ()
