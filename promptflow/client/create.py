"""Making a run from the arguments of `PFClient.run`."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.batch.options import OPTION_NAMES
from promptflow.client.runs import RunOperations
from promptflow.client.target import resolve_target
from promptflow.entities.run import Run, run_name
from promptflow.exceptions import PathNotFoundError, RunArgumentError


def create_run(
    runs: RunOperations,
    *,
    flow: str | PathLike[str] | Callable[..., Any] | None,
    data: str | PathLike[str] | None,
    run: str | Run | None,
    resume_from: str | Run | None,
    code: str | PathLike[str] | None,
    name: str | None,
    display_name: str | None,
    tags: dict[str, str] | None,
    variant: str | None,
    connections: dict[str, dict[str, Any]] | None,
    column_mapping: dict[str, Any] | None,
    environment_variables: dict[str, str] | None,
    init: dict[str, Any] | None,
    **kwargs: Any,
) -> Run:
    """Check what goes together, and submit. Raises RunArgumentError, PathNotFoundError, UserErrorException."""
    what: dict[str, Any] = {
        "column_mapping": column_mapping,
        "environment_variables": environment_variables,
        "init": init,
        "data": data,
        "run": run,
        "variant": variant,
        "connections": connections,
    }
    watching = {key: kwargs[key] for key in ("stream", "progress") if key in kwargs}
    options = {key: kwargs[key] for key in OPTION_NAMES if kwargs.get(key) is not None}
    if resume_from is not None:
        unsupported = {key: value for key, value in {"flow": flow, **what}.items() if value}
        if unsupported:
            raise RunArgumentError(f"'resume_from' does not go together with: {', '.join(unsupported)}.")
        return runs.resume_from(
            run_name(resume_from), name=name, display_name=display_name, tags=tags, options=options or None, **watching
        )
    if flow is None or flow == "":
        raise RunArgumentError("'flow' is required to create a run.")
    target = resolve_target(flow, code)
    if data and "://" not in str(data) and not Path(data).exists():  # a url: when it is submitted
        raise PathNotFoundError(f"data path {data} does not exist")
    if not run and not data:
        raise RunArgumentError("at least one of data or run must be provided")
    if target.kind != "dag":
        what |= {"variant": None, "connections": None}
    new = Run(
        **what,
        flow=target.path,
        name=name,
        display_name=display_name,
        description=kwargs.get("description"),
        tags=tags,
        properties=kwargs.get("properties"),
        kind=target.kind,
        entry=target.entry,
        dynamic_callable=target.function,
        options=options,
        overrides=kwargs.get("overrides"),
    )
    return runs.create_or_update(new, **watching)
