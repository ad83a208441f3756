"""Many lines through one flow."""

from promptflow.batch.batch_engine import BatchEngine
from promptflow.batch.result import BatchResult

__all__ = ["BatchEngine", "BatchResult"]
