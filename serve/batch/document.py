"""Jobs of batch endpoints as `az ml job show` prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serve.batch.inputs import FILE, FOLDER
from serve.batch.jobs import Job
from serve.batch.records import OUTPUT, Settings


def output_path(job: Job) -> Path | None:
    """The folder of a job's output, or its file where it is that alone; None before anybody knows."""
    record = job.record
    if not record.get("output"):
        return None
    folder = Path(record["output"])
    return folder / Settings.from_json(record["settings"]).output_file if record.get("output_type") == FILE else folder


def job_document(job: Job) -> dict[str, Any]:
    """What people and scripts read of a job."""
    record = job.record
    settings = Settings.from_json(record.get("settings") or {})
    found: dict[str, Any] = {
        "name": job.name,
        "display_name": job.display_name,
        "experiment_name": record.get("experiment_name", ""),
        "type": job.kind,
        "status": job.status,
        "error": record.get("error", ""),
        "endpoint_name": record.get("endpoint", ""),
        "deployment_name": record.get("deployment", ""),
        "inputs": {"input_data": record.get("input", {}), **record.get("inputs", {})},
        "outputs": {OUTPUT: {"type": record.get("output_type", FOLDER), "path": str(output_path(job) or "")}},
        "output_file_name": settings.output_file,
        "progress": record.get("progress", {}),
        "tags": record.get("tags", {}),
        "creation_context": {"created_at": job.created},
        "started": job.started or "",
        "ended": job.ended or "",
    }
    return {name: value for name, value in found.items() if value not in ("", {})}
