"""Spans as the store gives them, and the rows that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from promptflow.tracing.otlp import STATUS_MESSAGE
from promptflow.tracing.payload import loads

Row = dict[str, Any]


@dataclass(frozen=True)
class SpanRecord:
    """One stored span; its ``events`` include the payloads of inputs and output."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    collection: str | None
    session: str | None
    run: str | None
    line_run_id: str | None
    line_number: int | None
    attributes: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def duration(self) -> float:
        """Seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def inputs(self) -> Any:
        return _payload(self.attributes.get("inputs"))

    @property
    def output(self) -> Any:
        return _payload(self.attributes.get("output"))

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of the span and all below it: prompt, completion, total."""
        prefix = "__computed__.cumulative_token_count."
        return {key.removeprefix(prefix): int(n) for key, n in self.attributes.items() if key.startswith(prefix)}

    @property
    def error(self) -> str | None:
        """What went wrong, if anything did."""
        for event in self.events:
            if event["name"] == "exception":
                of = event["attributes"]
                return f"{of.get('exception.type')}: {of.get('exception.message')}"
        return self.attributes.get(STATUS_MESSAGE) if self.status == "Error" else None


@dataclass(frozen=True)
class TraceSummary:
    """One trace: its root span (the earliest one while the root is not there yet) and how many spans it has."""

    root: SpanRecord
    spans: int
    start_ns: int
    end_ns: int

    @property
    def trace_id(self) -> str:
        return self.root.trace_id

    @property
    def duration(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def as_row(span: SpanRecord) -> Row:
    return asdict(span)


def table_row(row: Mapping[str, Any], resource: Mapping[str, Any]) -> Row:
    """A row of the span table, from a spooled or received span and what is known of its process."""
    attributes = dict(row["attributes"])
    if row.get("message"):
        attributes.setdefault(STATUS_MESSAGE, row["message"])
    line_number = attributes.get("line_number")
    return {
        "trace_id": row["trace_id"],
        "span_id": row["span_id"],
        "parent_id": row.get("parent_id") or "",
        "name": str(row["name"]).replace("\x00", ""),
        "kind": row.get("kind") or "Function",
        "start_ns": row["start_ns"],
        "end_ns": row.get("end_ns") or row["start_ns"],
        "status": row.get("status") or "Unset",
        "collection": row.get("collection") or attributes.get("collection") or resource.get("collection"),
        "session": row.get("session") or attributes.get("session_id") or resource.get("session.id"),
        "run": row.get("run") or attributes.get("batch_run_id"),
        "line_run_id": row.get("line_run_id") or attributes.get("line_run_id"),
        "line_number": line_number if isinstance(line_number, int) else None,
        "attributes": attributes,
        "events": row.get("events") or [],
    }


def record(row: Row) -> SpanRecord:
    """A row of the table as people see it."""
    events = list(row["events"])
    named = {event["name"] for event in events}
    for name, key, time in (
        ("promptflow.function.inputs", "inputs", row["start_ns"]),
        ("promptflow.function.output", "output", row["end_ns"]),
    ):
        # Not kept twice: they repeat an attribute.
        if key in row["attributes"] and name not in named:
            events.append({"name": name, "time_ns": time, "attributes": {"payload": row["attributes"][key]}})
    return SpanRecord(**{**row, "events": sorted(events, key=lambda event: event["time_ns"])})


def summary(row: Row) -> TraceSummary:
    """From the row of a root span that has figures of its trace beside its own columns."""
    spans, start, end = row.pop("spans"), row.pop("first_ns"), row.pop("last_ns")
    return TraceSummary(record(row), spans, start, end)


def _payload(text: Any) -> Any:
    try:
        return loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
