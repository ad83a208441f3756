"""The completed lines of an earlier run, as if they had just been run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.contracts.reference import Reference
from promptflow.contracts.run import FlowRunInfo, LineResult, RunInfo, Status
from promptflow.exceptions import PromptflowException
from promptflow.executor.inputs import step_into
from promptflow.executor.multimedia import load_images
from promptflow.storage.folder import RunFolder

if TYPE_CHECKING:
    from promptflow.executor.loader import Executor

_ABSOLUTE = Path("/")  # the images in records have absolute paths


def previous_lines(folder: RunFolder, executor: Executor, run_id: str) -> Iterator[LineResult]:
    """The completed lines in ``folder``, renamed to run ``run_id``. A record that cannot be read counts as absent."""
    for record, node_records in folder.lines_with_nodes():
        if record.get("status") != Status.Completed.value:
            continue
        old = record["root_run_id"]
        try:
            record = load_images(record, _ABSOLUTE, record.get("message_format") or "basic")
            nodes = {name: _node(info, old, run_id) for name, info in node_records.items()}
            info = _flow_info(record, old, run_id)
            references = _aggregation_inputs(executor, nodes)
        except (KeyError, TypeError, ValueError, PromptflowException):
            continue
        yield LineResult(info.output, references, info, nodes)


def _flow_info(record: Mapping[str, Any], old: str, new: str) -> FlowRunInfo:
    values = _known(record, FlowRunInfo)
    values["run_id"] = record["run_id"].replace(old, new, 1)
    values["parent_run_id"] = values["root_run_id"] = new
    return FlowRunInfo(**values)


def _node(record: Mapping[str, Any], old: str, new: str) -> RunInfo:
    values = _known(load_images(dict(record), _ABSOLUTE, record.get("message_format") or "basic"), RunInfo)
    for name in ("run_id", "flow_run_id", "parent_run_id"):
        if values.get(name):
            values[name] = values[name].replace(old, new, 1)
    return RunInfo(**values)


def _known(record: Mapping[str, Any], cls: type) -> dict[str, Any]:
    values: dict[str, Any] = {field.name: record.get(field.name) for field in fields(cls)}
    values["status"] = Status(record["status"])
    for name in ("start_time", "end_time"):
        if values[name]:
            values[name] = datetime.fromisoformat(values[name]).astimezone(UTC).replace(tzinfo=None)
    values["message_format"] = record.get("message_format") or "basic"
    return values


def _aggregation_inputs(executor: Executor, nodes: Mapping[str, RunInfo]) -> dict[str, Any]:
    if executor.flow.kind != "dag":
        return {}
    references: dict[str, Reference] = {
        reference.text: reference
        for node in executor.flow.nodes
        if node.aggregation
        for reference in node.references
        if reference.node in nodes
    }
    return {
        text: step_into(reference, nodes[reference.node].output)
        for text, reference in references.items()
        if reference.node is not None and nodes[reference.node].status is Status.Completed
    }
