"""Door: errors of runs under an old private spelling."""

from promptflow.exceptions import (
    BulkRunException,
    ConnectionNotFoundError,
    InvalidFlowError,
    InvalidRunError,
    InvalidRunStatusError,
    RunExistsError,
    RunNotFoundError,
    RunOperationError,
)

SDKError = RunOperationError

__all__ = [
    "BulkRunException",
    "ConnectionNotFoundError",
    "InvalidFlowError",
    "InvalidRunError",
    "InvalidRunStatusError",
    "RunExistsError",
    "RunNotFoundError",
    "RunOperationError",
    "SDKError",
]
