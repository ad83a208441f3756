"""What a journal holds of nodes and lines: short entries, and the records that they stand for.

An entry has no run ids, which follow from the run's name, and nothing that is empty:
``{"line": 5, "node": "ask", "status": …, "start": …, "end": …, "measured": …, "inputs": …, "output": …}``.
Where JSON does not hold the output as it is, ``exact`` does, or else ``lossy`` says so; ``given`` does for a line's
inputs. A line's entry has no ``node``; that of an aggregation node has no line. ``{"run": name}`` starts each segment;
``{"forget": …}`` after it makes earlier entries void.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from promptflow.contracts.run import FlowRunInfo, RunInfo, Status
from promptflow.storage.encode import Default, to_json
from promptflow.storage.exact import is_exact, pack, unpack

Entry = dict[str, Any]

_FLOW_ID, _FORMAT = "default_flow_id", "basic"
_NODE_EXTRAS = ("metrics", "error", "api_calls", "cached_run_id", "cached_flow_run_id", "logs")
_LINE_EXTRAS = ("error", "metrics", "request", "source_run_id", "api_calls", "name", "description", "tags")


def node_entry(info: RunInfo, default: Default) -> bytes:
    """The entry of a node that ended."""
    entry = {
        "line": info.index,
        "node": info.node,
        "status": info.status,
        "start": info.start_time,
        "end": info.end_time,
        "measured": info.system_metrics,
        "inputs": info.inputs,
        "output": info.output,
    }
    for name in _NODE_EXTRAS:
        if (value := getattr(info, name)) is not None:
            entry[name] = value
    if info.status is Status.Completed and not is_exact(info.output):
        entry |= _exactly(info.output)
    if info.message_format != _FORMAT:
        entry["format"] = info.message_format
    if info.index is None:
        entry["ids"] = (info.run_id, info.flow_run_id, info.parent_run_id)
    return to_json(entry, default)


def line_entry(info: FlowRunInfo, inputs: bytes, output: bytes | None, default: Default) -> bytes:
    """The entry of a line that ended; ``inputs`` and ``output`` are JSON already."""
    entry = {
        "line": info.index or 0,
        "status": info.status,
        "start": info.start_time,
        "end": info.end_time,
        "measured": info.system_metrics,
        "trace": info.otel_trace_id,
        "inputs": orjson.Fragment(inputs),
        "output": None if output is None else orjson.Fragment(output),
    }
    if output is not None and not is_exact(info.output):
        entry |= _exactly(info.output)
    if not is_exact(info.inputs):
        with suppress(ValueError):
            entry["given"] = pack(info.inputs)
    for name in _LINE_EXTRAS:
        if value := getattr(info, name):
            entry[name] = value
    if info.message_format != _FORMAT:
        entry["format"] = info.message_format
    if info.flow_id != _FLOW_ID:
        entry["flow"] = info.flow_id
    return to_json(entry, default)


def output_of(entry: Mapping[str, Any]) -> Any:
    """The output as it was, of an entry that holds it exactly."""
    return unpack(entry["exact"])


def inputs_of(entry: Mapping[str, Any]) -> Any:
    """The inputs as they were, of a line's entry that holds them exactly."""
    return unpack(entry["given"])


def node_record(entry: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The record of a node as run folders have always held it."""
    node, line = entry["node"], entry["line"]
    ids = entry.get("ids") or (f"{run}_{node}_{line}", run, f"{run}_{line}")
    return {
        "node": node,
        "flow_run_id": ids[1],
        "run_id": ids[0],
        "status": entry["status"],
        "inputs": entry["inputs"],
        "output": entry["output"],
        "metrics": entry.get("metrics"),
        "error": entry.get("error"),
        "parent_run_id": ids[2],
        "start_time": entry["start"],
        "end_time": entry["end"],
        "index": line,
        "api_calls": entry.get("api_calls"),
        "cached_run_id": entry.get("cached_run_id"),
        "cached_flow_run_id": entry.get("cached_flow_run_id"),
        "logs": entry.get("logs"),
        "system_metrics": entry["measured"],
        "result": None,
        "message_format": entry.get("format", _FORMAT),
    }


def line_record(entry: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The record of a line as run folders have always held it."""
    return {
        "run_id": f"{run}_{entry['line']}",
        "status": entry["status"],
        "error": entry.get("error"),
        "inputs": entry["inputs"],
        "output": entry["output"],
        "metrics": entry.get("metrics"),
        "request": entry.get("request"),
        "parent_run_id": run,
        "root_run_id": run,
        "source_run_id": entry.get("source_run_id"),
        "flow_id": entry.get("flow", _FLOW_ID),
        "start_time": entry["start"],
        "end_time": entry["end"],
        "index": entry["line"],
        "api_calls": entry.get("api_calls"),
        "name": entry.get("name", ""),
        "description": entry.get("description", ""),
        "tags": entry.get("tags"),
        "system_metrics": entry["measured"],
        "result": None,
        "upload_metrics": False,
        "otel_trace_id": entry["trace"],
        "message_format": entry.get("format", _FORMAT),
    }


def _exactly(output: Any) -> dict[str, Any]:
    try:
        return {"exact": pack(output)}
    except ValueError:
        return {"lossy": True}
