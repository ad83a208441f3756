"""Arguments and words that the verbs of `pf batch-endpoint`, `pf batch-deployment` and `pf job` share."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from promptflow.cli import exits
from promptflow.cli.output import Output
from promptflow.workspace import Workspace
from serve.batch.document import job_document
from serve.batch.jobs import COMPLETED, Job, JobStore
from serve.batch.store import BatchStore
from serve.cli.endpoint_arguments import add_deployment, tell_all
from serve.cli.job_stream import follow

JOB_COLUMNS = ("name", "status", "deployment", "items", "failed", "created")
JOB_PRIORITY = ("name", "status", "created")


def open_batch() -> BatchStore:
    return BatchStore(Workspace.open())


def add_batch_deployment(parser: ArgumentParser, *, required: bool = True) -> None:
    add_deployment(parser, required=required, of="batch endpoint")


def tell_jobs(out: Output, jobs: Sequence[Job]) -> None:
    tell_all(out, [job_document(job) for job in jobs], _flat, JOB_COLUMNS, JOB_PRIORITY)


def tell_end(jobs: JobStore, name: str, out: Output) -> int:
    """Print the log of a job beside the result, which is what it is when it has ended; the exit code."""
    job = follow(jobs, name, out, aside=True)
    out.result(job_document(job))
    return exits.OK if job.status == COMPLETED else exits.ERROR


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    progress = row.get("progress", {})
    return {
        "deployment": f"{row.get('endpoint_name', '')}/{row.get('deployment_name', '')}",
        "items": progress.get("items", ""),
        "failed": progress.get("failed_items", ""),
        "created": row["creation_context"]["created_at"][:19].replace("T", " "),
    }
