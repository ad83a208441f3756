"""Door: what user code imports from ``promptflow.tracing._trace``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from promptflow.tracing.contracts.trace import TraceType
from promptflow.tracing.decorate import trace, traced
from promptflow.tracing.payload import dumps
from promptflow.tracing.spans import Span, current_span

__all__ = ["TraceType", "_traced", "enrich_prompt_template", "trace"]


def _traced(
    func: Callable[..., Any] | None = None,
    *,
    args_to_ignore: Iterable[str] | None = None,
    trace_type: TraceType = TraceType.FUNCTION,
    name: str | None = None,
) -> Any:
    def decorate(f: Callable[..., Any]) -> Any:
        return traced(f, name=name, kind=TraceType(trace_type).value, ignore=args_to_ignore or ())

    return decorate if func is None else decorate(func)


def enrich_prompt_template(template: str, variables: Mapping[str, Any], span: Span | None = None) -> None:
    """Put the template of a prompt, and what it is filled with, on the current span."""
    span = span or current_span()
    if span is not None:
        info = {"prompt.template": template, "prompt.variables": dumps(variables)}
        for key, value in info.items():
            span.set_attribute(key, value)
        span.add_event("promptflow.prompt.template", info)
