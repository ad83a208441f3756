"""`load_flow`: from a folder or file to something that can be called."""

from __future__ import annotations

from os import PathLike
from typing import Any

from promptflow.executor.callable import Flow


def load_flow(source: str | PathLike[str], **kwargs: Any) -> Any:
    """A flow folder or file as a callable `Flow`; a .prompty as a `Prompty`."""
    return Flow.load(source, **{"streaming": False, **kwargs})
