"""Door: metric loggers under Microsoft's private name."""

from promptflow.tracing.metrics import add_metric_logger, log_metric, remove_metric_logger

__all__ = ["add_metric_logger", "log_metric", "remove_metric_logger"]
