"""`create_app` as promptflow 1.18 called it: in scripts that start gunicorn, and in code that mounts it."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.serving.app import create_app as create
from promptflow.serving.options import ServeOptions
from promptflow.serving.process import prepare
from promptflow.serving.wsgi import WsgiApp

ENGINES = ("flask", "fastapi")


def create_app(
    *,
    engine: str = "flask",
    flow_file_path: str | PathLike[str] | None = None,
    static_folder: str | PathLike[str] | None = None,
    environment_variables: Mapping[str, Any] | None = None,
    init: Mapping[str, Any] | None = None,
    connection_provider: str | None = None,
    **_: Any,
) -> Any:
    """The flow of ``flow_file_path`` or PROMPTFLOW_PROJECT_PATH: a WSGI application for the engine ``flask``, which is
    what gunicorn takes by itself, an ASGI application for ``fastapi``."""
    if engine not in ENGINES:
        raise ValidationException(f"There is no engine '{engine}'.", hint=f"one of: {', '.join(ENGINES)}")
    options = ServeOptions.from_environment(
        source=str(flow_file_path or ""),
        static_folder=str(static_folder or ""),
        environment_variables={key: str(value) for key, value in (environment_variables or {}).items()},
        init=init,
        config={"connection.provider": connection_provider} if connection_provider else {},
    )
    prepare(options)
    app = create(options)
    return WsgiApp(app) if engine == "flask" else app
