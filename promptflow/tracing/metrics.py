"""Metrics that a flow's aggregation logs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_metrics: ContextVar[dict[str, Any] | None] = ContextVar("promptflow_metrics", default=None)
_loggers: list[Callable[..., Any]] = []


def log_metric(key: str, value: float, variant_id: str | None = None) -> None:
    """Record a metric of the current run; outside a run it is only handed to added metric loggers."""
    collected = _metrics.get()
    if collected is not None:
        name = key if variant_id is None else f"{key}.{variant_id}"
        collected[name] = value
    for logger in list(_loggers):
        takes_variant = len(inspect.signature(logger).parameters) > 2
        logger(key, value, variant_id) if takes_variant else logger(key, value)


log_flow_metric = log_metric  # an older name of it


@contextmanager
def collect_metrics() -> Iterator[dict[str, Any]]:
    """The metrics logged inside the block, in this context and in threads that carry it."""
    collected: dict[str, Any] = {}
    token = _metrics.set(collected)
    try:
        yield collected
    finally:
        _metrics.reset(token)


def add_metric_logger(logger: Callable[..., Any]) -> None:
    """Call ``logger(key, value)`` or ``logger(key, value, variant_id)`` for every metric of this process."""
    if callable(logger) and logger not in _loggers and len(inspect.signature(logger).parameters) in (2, 3):
        _loggers.append(logger)


def remove_metric_logger(logger: Callable[..., Any]) -> None:
    _loggers.remove(logger)
