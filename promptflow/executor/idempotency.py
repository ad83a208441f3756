"""A key by which a service that a tool calls can tell that a call was made before."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from promptflow.tracing.spans import context_attributes, current_span

ITEM = "item_number"  # attribute of the span of one item of a loop
_NAMESPACE = uuid.UUID("6f0c6a5e-7c0b-5a53-9f0e-2d8a3f3b6c11")

_given: ContextVar[str] = ContextVar("promptflow_place", default="")


def idempotency_key() -> str:
    """The same for every attempt at this node in this line of this run, and for no other; for a tool to send along
    with a request that must not count twice, as ``Idempotency-Key``.

    Outside of runs over data it is a new one each time. A tool that makes several requests adds something of its own.
    """
    where = place()
    return str(uuid.uuid5(_NAMESPACE, where) if where else uuid.uuid4())


def place() -> str:
    """Run, line, node and item of a loop that the code is in, as one text; empty outside of runs."""
    if given := _given.get():
        return given
    context = context_attributes()
    run, line = context.get("batch_run_id"), context.get("line_number")
    if run is None or line is None:
        return ""
    parts: list[str] = []
    at = current_span()
    while at is not None:
        parts += [f"{at.attributes[name]}" for name in ("node_name", ITEM) if name in at.attributes]
        at = at.parent
    return "\0".join([f"{run}", f"{line}", *reversed(parts)])


@contextmanager
def placed(where: str) -> Iterator[None]:
    """The `place` of another process is that of the block."""
    token = _given.set(where)
    try:
        yield
    finally:
        _given.reset(token)
