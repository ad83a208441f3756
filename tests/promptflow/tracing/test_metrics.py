"""Logged metrics."""

from __future__ import annotations

from typing import Any

from promptflow.core import log_metric
from promptflow.tracing.metrics import add_metric_logger, collect_metrics, remove_metric_logger


def test_metrics_of_a_block_are_collected() -> None:
    with collect_metrics() as metrics:
        log_metric("accuracy", 0.5)
        log_metric("accuracy", 0.6)
        log_metric("grade", 1, variant_id="variant_0")
    log_metric("later", 1)
    assert metrics == {"accuracy": 0.6, "grade.variant_0": 1}


def test_loggers_hear_every_metric() -> None:
    heard: list[Any] = []

    def two(key: str, value: float) -> None:
        heard.append((key, value))

    def three(key: str, value: float, variant_id: str | None) -> None:
        heard.append((key, value, variant_id))

    add_metric_logger(two)
    add_metric_logger(two)
    add_metric_logger(three)
    log_metric("a", 1)
    remove_metric_logger(two)
    remove_metric_logger(three)
    log_metric("b", 2)
    assert heard == [("a", 1), ("a", 1, None)]
