"""Which line and which node a call belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from promptflow.tracing.spans import context_attributes, current_span


@dataclass(frozen=True)
class Place:
    """``line`` is None outside a batch, ``node`` is empty outside a node."""

    line: int | None = None
    node: str = ""

    def __str__(self) -> str:
        node = f"node '{self.node}'" if self.node else ""
        line = f"line {self.line}" if self.line is not None else ""
        return " in ".join(part for part in (node, line) if part)


def here() -> Place:
    """The place of this call."""
    line = context_attributes().get("line_number")
    at, node = current_span(), ""
    while at is not None and not node:
        node, at = str(at.attributes.get("node_name", "")), at.parent
    return Place(line if isinstance(line, int) else None, node)
