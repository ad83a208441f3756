"""The error of a whole run, as error.json and `pf run show` hold it."""

from __future__ import annotations

from typing import Any

from promptflow.batch.result import BatchResult
from promptflow.exceptions import BulkRunException, PromptflowException, error_to_dict


def run_error(result: BatchResult | None, exception: BaseException | None) -> dict[str, Any] | None:
    """One error for everything that went wrong, None when nothing did.

    Its message is that of what stopped the run, or of the first failed line; ``additionalInfo`` lists all lines.
    """
    errors: list[dict[str, Any]] = []
    if result is not None:
        errors += [{"line_number": number, "error": error} for number, error in sorted(result.errors, key=_number)]
        errors += [{"error": e, "aggregation_node_name": n} for n, e in result.aggregation_errors.items()]
    if exception is not None:
        message = f"First error message is: {exception}"
    elif errors:
        message = f"First error message is: {errors[0]['error'].get('message', '')}"
        if result is not None and result.failed_lines:
            message = f"Failed to run {result.failed_lines}/{result.total_lines} lines. {message}"
    else:
        return None
    error = error_to_dict(BulkRunException(message, target="Runtime"), include_debug_info=True)
    error["innerError"] = {"code": "SDKError", "innerError": {"code": "BulkRunException", "innerError": None}}
    error["additionalInfo"] = [{"type": "BulkRunErrors", "info": {"errors": errors}}]
    if exception is not None:
        error["debugInfo"]["innerException"] = _debug_info(exception)
    return error


def _debug_info(exception: BaseException) -> dict[str, Any]:
    info: dict[str, Any] = error_to_dict(exception, include_debug_info=True)["debugInfo"]
    if isinstance(exception, PromptflowException):
        info |= {"location": exception.location, "hint": exception.hint}
    return info


def _number(error: tuple[int, dict[str, Any]]) -> int:
    return error[0]
