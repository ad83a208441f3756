"""``start_trace``: what this process is called in its traces, and whose calls become spans."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from promptflow.tracing import injectors, spool

SKIP_VARIABLE = "PF_TRACING_SKIP_LOCAL_SETUP"
_CHOSEN = "collection"  # set by the user: later calls without one keep it
_state: set[str] = set()


def start_trace(
    *, resource_attributes: Mapping[str, Any] | None = None, collection: str | None = None, **kwargs: Any
) -> None:
    """Name the traces of this process, and make calls of the ``openai`` SDK and of OpenTelemetry users part of them.

    ``collection`` groups traces (by default the name of the current folder; one that was given stays); ``session``
    groups them within it.
    """
    if os.environ.get(SKIP_VARIABLE, "").lower() == "true":
        return
    injectors.inject()
    spool.resource.update({"service.name": "promptflow", **(resource_attributes or {})})
    if collection is not None:
        _state.add(_CHOSEN)
        spool.resource["collection"] = collection
    elif _CHOSEN not in _state:
        spool.resource["collection"] = kwargs.get("_collection") or _folder_name()
    if kwargs.get("session"):
        spool.resource["session.id"] = kwargs["session"]
    # Instrumentations of other libraries write to OpenTelemetry: where its SDK is installed, they find a provider.
    if find_spec("opentelemetry") is not None and find_spec("opentelemetry.sdk") is not None:
        from promptflow.tracing import otel_provider

        otel_provider.set_up(spool.resource)


def _folder_name() -> str:
    try:
        return os.path.basename(os.getcwd()) or "default"
    except OSError:
        return "default"
