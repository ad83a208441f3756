"""What ``flow=`` of a run may be: a path, ``module:name``, a function, a class, an instance, a loaded flow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.entities.flow_files import flow_kind
from promptflow.exceptions import UserErrorException
from promptflow.executor.callable import AsyncFlow, Flow


@dataclass(frozen=True)
class Target:
    """``path`` is the flow's file or folder; for code, the folder its module lives in.

    ``entry`` names code that can be imported again, ``function`` is code that is at hand.
    """

    path: Path
    kind: str
    entry: str | None = None
    function: Callable[..., Any] | None = None


def resolve_target(flow: Any, code: str | PathLike[str] | None = None) -> Target:
    """Raises UserErrorException for what is no flow."""
    if isinstance(flow, Flow | AsyncFlow):
        return Target(flow.path, flow_kind(flow.path))
    path = getattr(flow, "path", None)
    if isinstance(path, Path) and path.suffix == ".prompty":
        return Target(path, "prompty")
    if callable(flow) and not isinstance(flow, str | PathLike):
        return Target(_folder(code), "flex", _entry(flow), flow)
    if isinstance(flow, str) and _is_entry(flow):
        return Target(_folder(code), "flex", flow)
    path = Path(flow)
    if not path.exists():
        raise UserErrorException(f"Flow path {flow} does not exist and it's not a valid entry point.")
    return Target(path, flow_kind(path))


def _folder(code: str | PathLike[str] | None) -> Path:
    folder = Path(code) if code else Path.cwd()
    if not folder.exists():
        raise UserErrorException(f"Code path {folder.as_posix()} does not exist.")
    return folder.resolve()


def _entry(function: Callable[..., Any]) -> str | None:
    """``module:name`` of a function or class; an instance, or what was made inside a function, has none."""
    name = getattr(function, "__qualname__", "")
    if not (inspect.isfunction(function) or inspect.isclass(function)) or not name.isidentifier():
        return None
    return f"{function.__module__}:{name}"


def _is_entry(text: str) -> bool:
    module, colon, name = text.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    return bool(colon) and dotted and name.isidentifier() and not Path(text).exists()
