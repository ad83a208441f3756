"""`Collector` under the name that scripts import: what a script keeps of its requests goes to the deployment's
collections. ``sink`` is set by the process of the deployment; without it, nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from azureml.ai.monitoring.context import BasicCorrelationContext, CorrelationContext

sink: Callable[[str, Any, str], None] | None = None  # the collection, what is to be kept, the id that goes with it


class Collector:
    """Keeps tables of pandas in the collection ``name``. It never fails a request: ``on_error`` is told."""

    def __init__(self, *, name: str, on_error: Callable[[Exception], Any] | None = None) -> None:
        self.name, self.on_error = name, on_error

    def collect(self, data: Any, correlation_context: CorrelationContext | None = None) -> CorrelationContext:
        context = correlation_context or BasicCorrelationContext()
        try:
            if not hasattr(data, "to_dict"):
                raise TypeError(f"collect() takes a pandas.DataFrame, and this is of the type {type(data).__name__}")
            if sink is not None:
                sink(self.name, data, context.get_id())
        except Exception as error:
            if self.on_error is not None:
                self.on_error(error)
        return context
