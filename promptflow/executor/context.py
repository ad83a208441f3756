"""`FlowContext`: how a loaded flow is to be called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class FlowContext:
    """What differs from the flow's files when it is called: a variant ``${node.variant}``, connections by node,
    overridden node inputs (``{"nodes.ask.inputs.temperature": 0}``), streamed outputs, environment variables.

    A connection may be named, or given as an object: ``{"ask": {"connection": AzureOpenAIConnection(...)}}``.
    """

    variant: str | None = None
    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    streaming: bool | None = None
    environment_variables: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("connections", "overrides", "environment_variables"):
            if getattr(self, name) is None:
                setattr(self, name, {})
