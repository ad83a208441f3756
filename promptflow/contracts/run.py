"""What one line through a flow leaves behind: statuses, the record of a node, the record of a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Status(Enum):
    """The state of a run, a line or a node."""

    Running = "Running"
    Preparing = "Preparing"
    Completed = "Completed"
    Failed = "Failed"
    Bypassed = "Bypassed"
    Canceled = "Canceled"
    NotStarted = "NotStarted"
    CancelRequested = "CancelRequested"

    @staticmethod
    def is_terminated(status: Status | str) -> bool:
        value = status.value if isinstance(status, Status) else status
        return value in {"Completed", "Failed", "Bypassed", "Canceled"}


@dataclass
class RunInfo:
    """The record of one node in one line. Times are naive UTC; ``run_id`` is ``<run>_<node>_<line>``."""

    node: str
    flow_run_id: str
    run_id: str
    status: Status
    inputs: Mapping[str, Any] | None
    output: Any
    metrics: dict[str, Any] | None
    error: dict[str, Any] | None
    parent_run_id: str | None
    start_time: datetime | None
    end_time: datetime | None
    index: int | None = None
    api_calls: list[dict[str, Any]] | None = None
    cached_run_id: str | None = None
    cached_flow_run_id: str | None = None
    logs: dict[str, str] | None = None
    system_metrics: dict[str, Any] | None = None
    result: Any = None
    message_format: str = "basic"


@dataclass
class FlowRunInfo:
    """The record of one line. ``system_metrics`` holds ``duration`` in seconds and token counts."""

    run_id: str
    status: Status
    error: dict[str, Any] | None
    inputs: Mapping[str, Any] | None
    output: Any
    metrics: dict[str, Any] | None
    request: Any
    parent_run_id: str | None
    root_run_id: str | None
    source_run_id: str | None
    flow_id: str | None
    start_time: datetime | None
    end_time: datetime | None
    index: int | None = None
    api_calls: list[dict[str, Any]] | None = None
    name: str = ""
    description: str = ""
    tags: Mapping[str, str] | None = None
    system_metrics: dict[str, Any] | None = None
    result: Any = None
    upload_metrics: bool = False
    otel_trace_id: str | None = ""
    message_format: str = "basic"


@dataclass(slots=True)
class LineResult:
    """One line through a flow.

    ``output``: flow outputs by name. ``aggregation_inputs``: for each reference that an aggregation node makes to a
    line node (``${node.output}``), the value. ``run_info.error`` is set when the line failed (``exception`` then
    holds the error itself, inside this process only).
    """

    output: Any
    aggregation_inputs: Mapping[str, Any]
    run_info: FlowRunInfo
    node_run_infos: Mapping[str, RunInfo]
    exception: BaseException | None = field(default=None, repr=False)


@dataclass(slots=True)
class AggregationResult:
    """What the aggregation nodes of a flow made: node outputs, logged metrics, node records."""

    output: Mapping[str, Any]
    metrics: dict[str, Any]
    node_run_infos: Mapping[str, RunInfo]
