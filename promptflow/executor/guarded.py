"""One line, whatever its code does: raise, exit or run out of time. The result says so; nothing is raised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import FlowRunInfo, LineResult, Status
from promptflow.exceptions import LineExecutionTimeoutError, UserErrorException, error_to_dict
from promptflow.executor.line import Attempt, now

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor


def run_line(executor: Executor, number: int, row: Mapping[str, Any], run_id: str, attempt: Attempt) -> LineResult:
    """Run one line on this thread."""
    start = now()
    try:
        return executor.run_line(row, index=number, run_id=run_id, attempt=attempt)
    except SystemExit as error:
        failure: BaseException = line_exit(error)
    except (KeyboardInterrupt, GeneratorExit) as error:  # raised by a tool: fails its line only
        failure = UserErrorException(f"The flow's code raised {type(error).__name__}.", error=error)
    except Exception as error:
        failure = error
    return failed_line(executor, row, number, run_id, failure, start)


def failed_line(
    executor: Executor, row: Mapping[str, Any], number: int, run_id: str, error: BaseException, start: datetime
) -> LineResult:
    """The result of a line that ended without one of its own. ``start`` is naive UTC."""
    end = now()
    info = FlowRunInfo(
        run_id=f"{run_id}_{number}",
        status=Status.Failed,
        error=error_to_dict(error, include_debug_info=True),
        inputs=row,
        output=None,
        metrics=None,
        request=None,
        parent_run_id=run_id,
        root_run_id=run_id,
        source_run_id=None,
        flow_id=getattr(executor.flow, "id", "default_flow_id"),
        start_time=start,
        end_time=end,
        index=number,
        api_calls=[],
        system_metrics={"duration": (end - start).total_seconds()},
    )
    return LineResult({}, {}, info, {}, error)


def line_timeout(number: int, seconds: float) -> LineExecutionTimeoutError:
    return LineExecutionTimeoutError(
        f"Line {number} execution timeout for exceeding {seconds:g} seconds", hint="set PF_LINE_TIMEOUT_SEC"
    )


def line_exit(error: SystemExit) -> UserErrorException:
    return UserErrorException(f"The flow's code called sys.exit({error.code!r}).", error=error)
