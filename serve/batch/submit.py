"""Sending data to a deployment: a job that is recorded, holds what it needs, and has a process."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from catalog.uses import Uses
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import make_folder
from promptflow.workspace.urls import is_url
from serve.batch.inputs import FOLDER, Input
from serve.batch.jobs import COMPLETED, ENDED, INTERRUPTED, NOT_STARTED, Job, JobStateError, JobStore, new_name
from serve.batch.records import APPEND_ROW, OUTPUT, BatchDeployment, Settings
from serve.endpoints.spec_rows import spec_to_row

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@dataclass(frozen=True)
class Request:
    """What a caller asks for. ``inputs`` are those of a flow; ``output`` a folder, empty for one of the job's own.
    ``output_type`` FILE: of that folder, only the file of ``settings`` is the output."""

    input: Input
    settings: Settings
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str = ""
    name: str = ""
    experiment: str = ""
    display_name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    output_type: str = FOLDER


def submit(workspace: Workspace, deployment: BatchDeployment, request: Request) -> Job:
    """Start a job, which goes on when this process ends."""
    job = record_job(workspace, deployment, request)
    jobs = JobStore(workspace)
    jobs.start(job)
    return jobs.get(job.name)


def record_job(workspace: Workspace, deployment: BatchDeployment, request: Request) -> Job:
    """Keep a job, which nobody works on yet, and hold what it needs."""
    jobs = JobStore(workspace)
    name = _checked(request.name or new_name())
    record: dict[str, Any] = {
        "endpoint": deployment.endpoint,
        "deployment": deployment.name,
        "revision": deployment.revision,
        "spec": spec_to_row(deployment.spec, workspace.home),
        "settings": request.settings.to_json(),
        "input": request.input.to_json(),
        "inputs": dict(request.inputs),
        "output": str(_output(request) or jobs.folder(name) / OUTPUT),
        "output_type": request.output_type,
        "experiment_name": request.experiment or deployment.endpoint,
        "tags": dict(request.tags),
    }
    job = Job(name, target=deployment.id, display_name=request.display_name or name, record=record)
    with workspace.db.write(lock="batch"):
        kept = jobs.add(job)
        Uses(workspace).hold(needed(job), job.id)
    make_folder(jobs.folder(name), 0o700)
    return kept


def resume(workspace: Workspace, name: str) -> Job:
    """Go on with a job that was interrupted, canceled or has failed: what is done stays done. What failed is tried
    again, unless the job was only interrupted. JobStateError for one that goes on, or is complete."""
    job = record_resume(workspace, name)
    jobs = JobStore(workspace)
    jobs.start(job)
    return jobs.get(name)


def record_resume(workspace: Workspace, name: str) -> Job:
    """Note that a job is to go on, and hold what it needs."""
    jobs = JobStore(workspace)
    job = jobs.get(name)
    if job.status == COMPLETED and not (job.record.get("progress") or {}).get("failed_items"):
        raise JobStateError(f"The job '{name}' is complete.", hint="nothing is left to do")
    if job.status not in (*ENDED, INTERRUPTED):
        raise JobStateError(f"The job '{name}' goes on: it is {job.status}.", hint=f"pf job stream -n {name}")
    again = job.status != INTERRUPTED or bool(job.record.get("again"))
    changed = replace(job, record={**job.record, "again": again, "error": ""})
    with workspace.db.write(lock="batch"):
        Uses(workspace).hold(needed(job), job.id)
        jobs.change(name, status=NOT_STARTED, ended=None, record=dict(changed.record))
    return changed


def needed(job: Job) -> list[str]:
    """The assets that a job cannot do without."""
    data = job.record["input"].get("asset")
    return [*job.record["spec"]["assets"], *([data] if data else [])]


def _output(request: Request) -> Path | None:
    """A folder of this machine, in which the file is not there yet."""
    if not request.output:
        return None
    if is_url(request.output) or request.output.startswith("azureml:"):
        raise ValidationException(
            f"The output goes to a folder of this machine, and not to {request.output.partition(':')[0]}:.",
            hint="--output-path FOLDER",
        )
    folder = Path(request.output.removeprefix("file://")).expanduser().resolve()
    if folder.is_file():
        raise ValidationException(f"{folder} is a file.", hint="--output-path takes a folder")
    file = folder / request.settings.output_file
    if request.settings.output_action == APPEND_ROW and file.exists():
        raise ValidationException(
            f"There is {file} already.", hint="remove it, or give another --output-path, or --set output_file_name=..."
        )
    return folder


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValidationException(f"{name[:80]!r} is no name of a job.", hint="letters, digits, . _ and -")
    return name
