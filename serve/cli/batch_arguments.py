"""Arguments and words that the verbs of `pf batch-endpoint`, `pf batch-deployment` and `pf job` share."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.workspace import Workspace
from serve.batch.document import job_document
from serve.batch.jobs import Job
from serve.batch.store import BatchStore
from serve.cli.endpoint_arguments import add_deployment, tell_all

JOB_COLUMNS = ("name", "status", "deployment", "items", "failed", "created")
JOB_PRIORITY = ("name", "status", "created")
_EACH = re.compile(r"\[\]\.?([\w.]*)")


def open_batch() -> BatchStore:
    return BatchStore(Workspace.open())


def add_batch_deployment(parser: ArgumentParser, *, required: bool = True) -> None:
    add_deployment(parser, required=required, of="batch endpoint")


def tell_jobs(out: Output, jobs: Sequence[Job], query: str | None = None) -> None:
    """A list of jobs; `--query [].name` prints a field of each."""
    rows = [job_document(job) for job in jobs]
    if query:
        match = _EACH.fullmatch(query)
        if match is None:
            raise UsageError(f"--query {query}: of a list, a field of each is asked for", hint="--query [].name")
        out.result([_field(row, match[1]) for row in rows] if match[1] else rows)
        return
    tell_all(out, rows, _flat, JOB_COLUMNS, JOB_PRIORITY)


def _field(row: Mapping[str, Any], path: str) -> Any:
    found: Any = row
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    progress = row.get("progress", {})
    return {
        "deployment": f"{row.get('endpoint_name', '')}/{row.get('deployment_name', '')}",
        "items": progress.get("items", ""),
        "failed": progress.get("failed_items", ""),
        "created": row["creation_context"]["created_at"][:19].replace("T", " "),
    }
