"""Door: `Run` under an old private spelling."""

from promptflow.entities.run import Run

__all__ = ["Run"]
