"""What the comparison page shows, gathered from run folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from promptflow.entities.run import Run
from promptflow.storage.folder import as_outputs
from promptflow.storage.layout import LINE_NUMBER

MAX_ROWS = 5_000  # of a run; the failed ones first
MAX_TEXT = 20_000  # characters of one value


def page_content(runs: Sequence[Run]) -> dict[str, Any]:
    """The page's data for these runs."""
    shown = [_run(run, f"run {i}") for i, run in enumerate(runs, 1)]
    left_out = sum(run.pop("left_out") for run in shown)
    return {
        "generated": f"Made {datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        "truncated": f"{left_out} completed rows left out" if left_out else "",
        "runs": shown,
    }


def _run(run: Run, label: str) -> dict[str, Any]:
    folder = run.folder
    nodes: dict[int, Iterable[Mapping[str, Any]]] = {}
    records = []
    for record, node_records in folder.lines_with_nodes():
        records.append(record)
        nodes[record["index"]] = node_records.values()
    failed = [record for record in records if record.get("status") != "Completed"]
    kept = _keep(records, failed)
    metrics = run.properties.get("system_metrics") or {}
    lines = [_line(record, nodes[record["index"]]) for record in kept]
    return {
        "label": label,
        "name": run.name,
        "display_name": run.display_name,
        "status": run.status,
        "created": f"{datetime.fromisoformat(run.created_on):%Y-%m-%d %H:%M:%S}",
        "flow": run._flow_name,
        "variant": run.variant,
        "data": Path(run.data).name if run.data else None,
        "parent": run.properties.get("run"),
        "duration": metrics.get("duration", run.duration),
        "tokens": {key: metrics.get(key) for key in ("total_tokens", "prompt_tokens", "completion_tokens")},
        "completed": len(records) - len(failed),
        "failed": len(failed),
        "metrics": folder.metrics(),
        "error": folder.error().get("message"),
        "columns": {
            "inputs": _columns(line["inputs"] for line in lines),
            "outputs": _columns(line["outputs"] for line in lines if line["outputs"]),
        },
        "lines": lines,
        "left_out": len(records) - len(kept),
    }


def _keep(records: list[dict[str, Any]], failed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(records) <= MAX_ROWS:
        return records
    completed = [record for record in records if record.get("status") == "Completed"]
    kept = [*failed[:MAX_ROWS], *completed[: max(0, MAX_ROWS - len(failed))]]
    return sorted(kept, key=_index)


def _index(record: dict[str, Any]) -> int:
    return int(record["index"])


def _line(record: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    number = record["index"]
    metrics = record.get("system_metrics") or {}
    completed = record.get("status") == "Completed"
    inputs = {key: value for key, value in (record.get("inputs") or {}).items() if key != LINE_NUMBER}
    return {
        "number": number,
        "status": record.get("status"),
        "inputs": _cut(inputs),
        "outputs": _cut(as_outputs(record["output"])) if completed else None,
        "error": _error(record.get("error")),
        "duration": metrics.get("duration"),
        "tokens": metrics.get("total_tokens"),
        "nodes": _nodes(record, nodes),
    }


def _nodes(record: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Nodes in the order of their start, with seconds since the line's."""
    start = _time(record.get("start_time"))
    found = []
    for node in nodes:
        at = _time(node.get("start_time"))
        found.append(
            {
                "name": node["node"],
                "status": node["status"],
                "start": max(0.0, (at - start).total_seconds()) if at and start else 0.0,
                "duration": (node.get("system_metrics") or {}).get("duration") or 0.0,
            }
        )
    return sorted(found, key=lambda node: node["start"])


def _error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not error:
        return None
    infos = [entry.get("info") for entry in error.get("additionalInfo") or []]
    trace = next((info["traceback"] for info in infos if isinstance(info, dict) and info.get("traceback")), "")
    return {"message": error.get("message", ""), "trace": trace}


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list({name: None for row in rows for name in row})


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"{value[:MAX_TEXT]}… [{len(value) - MAX_TEXT} more characters]"
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    return [_cut(item) for item in value] if isinstance(value, list) else value


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
