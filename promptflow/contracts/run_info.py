"""Door: Microsoft's spelling of the run records."""

from promptflow.contracts.run import FlowRunInfo, RunInfo, Status

__all__ = ["FlowRunInfo", "RunInfo", "Status"]
