"""What spans of a run or a test say besides what the flow says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptflow.tracing import injectors, spool
from promptflow.tracing.spans import context_attributes, disabled, run_context


@contextmanager
def traced_as(flow_name: str, **attributes: Any) -> Iterator[None]:
    """Spans inside belong to the collection called as the flow, unless the user chose one with ``start_trace``.

    Calls of the openai SDK and of LangChain in the flow's code become spans too.
    """
    if disabled():
        yield
        return
    injectors.inject()
    chosen = spool.resource.get("collection") or context_attributes().get("collection")
    with run_context(collection=None if chosen else flow_name, **attributes):
        yield
