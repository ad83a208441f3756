"""Lines that ended outside their flow: out of time, `sys.exit`, a process that died."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from promptflow.contracts.run import FlowRunInfo, LineResult, Status
from promptflow.exceptions import LineExecutionTimeoutError, UserErrorException, error_to_dict

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor


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


def now() -> datetime:
    """Naive UTC, as run records have always held it."""
    return datetime.now(UTC).replace(tzinfo=None)
