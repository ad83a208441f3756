"""Door: attributes for the spans of the current context, as a dictionary that user code reads and writes."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from promptflow._version import __version__
from promptflow.tracing import spans


class OperationContext(dict[str, Any]):
    """Facts about the current operation. ``_add_otel_attributes`` puts them on every span that starts after."""

    _current: ContextVar[OperationContext | None] = ContextVar("promptflow_operation", default=None)

    @classmethod
    def get_instance(cls) -> OperationContext:
        instance = cls._current.get()
        if instance is None:
            instance = cls()
            cls._current.set(instance)
        running = spans.context_attributes()
        root = running.get("batch_run_id") or running.get("line_run_id")
        if root:  # inside a flow
            instance.update(flow_id="default_flow_id", root_run_id=root)
        return instance

    @classmethod
    def set_instance(cls, instance: OperationContext) -> None:
        cls._current.set(instance)

    def copy(self) -> OperationContext:
        return OperationContext(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)

    def _add_otel_attributes(self, key: str, value: Any) -> None:
        spans.add_context({key: value})

    def _remove_otel_attributes(self, keys: str | Iterable[str]) -> None:
        spans.remove_context([keys] if isinstance(keys, str) else keys)

    def _get_otel_attributes(self) -> dict[str, Any]:
        return dict(spans.context_attributes())

    def get_user_agent(self) -> str:
        return f"{self.get('user_agent', '')} promptflow/{__version__}".strip()

    def append_user_agent(self, user_agent: str) -> None:
        known = self.get("user_agent", "")
        if user_agent not in known:
            self["user_agent"] = f"{known} {user_agent}".strip()
