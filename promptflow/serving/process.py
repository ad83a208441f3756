"""What a process that serves is like: quiet, and without traces that nobody asked for."""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Callable, MutableMapping

from promptflow.serving.app import create_app
from promptflow.serving.options import ServeOptions
from promptflow.serving.server import serve
from promptflow.workspace import Workspace
from promptflow.workspace.settings import variables

NO_TRACES = "PF_DISABLE_TRACING"
_COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def run(options: ServeOptions, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Load the flow and answer until a signal says to stop. Raises a user error where the flow cannot be loaded."""
    prepare(options)
    app = create_app(options)
    gc.collect()
    gc.freeze()  # what was loaded never becomes garbage: a look at all of it takes as long as a hundred requests
    serve(app, listener, ready)


def prepare(options: ServeOptions, environ: MutableMapping[str, str] = os.environ) -> None:
    """The settings that were given, the log, and whether requests leave traces."""
    environ.update({name: str(value) for key, value in options.config.items() for name in variables(key)})
    level = logging.getLevelNamesMapping().get(environ.get("PF_LOGGING_LEVEL", "").upper(), logging.WARNING)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not _traces_are_wanted(environ):
        environ[NO_TRACES] = "true"


def _traces_are_wanted(environ: MutableMapping[str, str]) -> bool:
    """A trace for each request of months fills a disk: they are kept only where somebody says where or that."""
    if environ.get(NO_TRACES):
        return environ[NO_TRACES].lower() == "false"
    named = any(environ.get(name) for name in _COLLECTORS)
    return named or Workspace.open().settings.get("trace.destination") is not None
