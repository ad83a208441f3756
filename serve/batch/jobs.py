"""Jobs in the workspace's database, and the processes that work on them.

The row says what a job is to do and how far it is. That its process has died is seen from the process: nobody can write
that down in its place, so a job that seems to run and has no process is shown as interrupted.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from catalog.uses import Uses
from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.clock import now_text
from serve.endpoints.names import nearest

NOT_STARTED, RUNNING, COMPLETED, FAILED = "NotStarted", "Running", "Completed", "Failed"
CANCEL_REQUESTED, CANCELED, INTERRUPTED = "CancelRequested", "Canceled", "Interrupted"
ENDED = (COMPLETED, FAILED, CANCELED)
KIND = "batch"
FOLDER = "jobs"
_START_SECONDS = 30.0  # that a job without a process is not called interrupted: it is being started
_EXIT_SECONDS = 15.0  # that the process of a job which has ended may take to be gone
_WORDS = ("amber", "brave", "calm", "clear", "eager", "fair", "green", "keen", "light", "quiet", "swift", "warm")
_THINGS = ("apple", "bridge", "cloud", "field", "garden", "harbor", "island", "maple", "meadow", "river", "stone")
Jobs = list["Job"]


class JobNotFoundError(UserErrorException):
    """There is no job of this name."""

    http_status = 404


class JobStateError(UserErrorException):
    """What was asked cannot be done with the job as it is."""

    http_status = 409


@dataclass(frozen=True)
class Job:
    """``target`` is what it is a job of, such as ``batch:ENDPOINT/DEPLOYMENT``; ``record`` what its kind knows of it:
    of batch jobs ``spec``, ``settings``, ``input``, ``inputs``, ``output``, ``progress`` and ``error``."""

    name: str
    status: str = NOT_STARTED
    kind: str = KIND
    target: str = ""
    parent: str | None = None
    display_name: str = ""
    created: str = ""
    started: str | None = None
    ended: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    archived: bool = False

    @property
    def id(self) -> str:
        """``job:NAME``, as the uses of assets name it."""
        return f"job:{self.name}"


class JobStore:
    """The jobs of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._store = workspace.store

    def folder(self, name: str) -> Path:
        """Where a job has its journal, its logs and, if nothing else was asked for, its output."""
        return self.workspace.home / FOLDER / name

    def add(self, job: Job) -> Job:
        """Keep a new job. JobStateError if the name is taken."""
        kept = replace(job, created=now_text())
        if not self._store.add("jobs", {**vars(kept), "record": dict(kept.record)}):
            raise JobStateError(f"There is a job '{job.name}' already.", hint="give another --job-name")
        self.workspace.events.append("job.created", job.name, {"kind": job.kind, "target": job.target})
        return kept

    def get(self, name: str) -> Job:
        """That job as it is now; JobNotFoundError says which there are."""
        row = self._store.get("jobs", name)
        if row is None:
            query = "SELECT name FROM jobs ORDER BY created DESC LIMIT 20"
            names = [str(one["name"]) for one in self._store.select("jobs", query)]
            raise JobNotFoundError(f"There is no job '{name}'.", hint=nearest(name, names, "pf batch-endpoint invoke"))
        return self._seen(Job(**row))

    def list(self, *, target: str = "", limit: int | None = None, archived: bool | None = False) -> Jobs:
        """Jobs, newest first. ``target`` with a ``/`` at its end stands for all that begin so."""
        conditions, values = [], dict[str, Any]()
        if target:
            conditions.append("substr(target, 1, :length) = :target" if target.endswith("/") else "target = :target")
            values |= {"target": target} | ({"length": len(target)} if target.endswith("/") else {})
        if archived is not None:
            conditions.append("archived" if archived else "NOT archived")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f"SELECT * FROM jobs {where} ORDER BY created DESC, name"
        if limit is not None:
            query += f" LIMIT {int(limit)}"
        return [self._seen(Job(**row)) for row in self._store.select("jobs", query, **values)]

    def change(self, name: str, **values: Any) -> None:
        """Change columns of a job."""
        self._store.update("jobs", name, **values)

    def start(self, job: Job) -> None:
        """Start its process, which outlives this one."""
        argv = [sys.executable, "-P", "-m", "serve.batch", job.name]
        environment = {"PF_HOME_DIRECTORY": str(self.workspace.home)}
        if self.workspace.database_url:
            environment["PF_DATABASE_URL"] = self.workspace.database_url
        if self.workspace.processes.get(_process(job.name)) is not None:
            self.workspace.processes.wait(_process(job.name), _EXIT_SECONDS)  # it says how it ended before it does
        self.workspace.processes.start(_process(job.name), argv, env=environment, cwd=self.folder(job.name))

    def cancel(self, name: str) -> Job:
        """Stop its process; what it has done so far stays, and `resume` goes on. JobStateError if it has ended."""
        job = self.get(name)
        if job.status in ENDED:
            raise JobStateError(f"The job '{name}' has ended: it is {job.status}.")
        self.change(name, status=CANCEL_REQUESTED)
        if self.workspace.processes.get(_process(name)) is not None:
            self.workspace.processes.stop(_process(name))
        if self.get(name).status not in ENDED:  # it had no process, or that was killed before it could say so
            self.change(name, status=CANCELED, ended=now_text())
            Uses(self.workspace).end(job.id)
            self.workspace.events.append("job.canceled", name)
        return self.get(name)

    def log_of_process(self, name: str) -> str:
        """What the job's process itself said last, which is what could not go to its own log."""
        return self.workspace.processes.tail(_process(name))

    def wait(self, name: str, poll: float = 0.2) -> Job:
        """The job when it has ended, or its process has."""
        while (job := self.get(name)).status not in (*ENDED, INTERRUPTED):
            time.sleep(poll)
        return job

    def _seen(self, job: Job) -> Job:
        if job.kind != KIND or job.status in ENDED:
            return job
        process = self.workspace.processes.get(_process(job.name))
        if process is not None and process.status in ("running", "elsewhere"):
            return job
        if process is None and job.status == NOT_STARTED and _is_young(job):
            return job
        row = self._store.get("jobs", job.name)  # it may have ended in between
        if row is not None and row["status"] in ENDED:
            return Job(**row)
        return replace(job, status=INTERRUPTED)


def new_name() -> str:
    """A name for a job: two words and a few letters."""
    return f"{secrets.choice(_WORDS)}_{secrets.choice(_THINGS)}_{secrets.token_hex(5)}"


def _process(name: str) -> str:
    return f"job-{name}"


def _is_young(job: Job) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(job.created)).total_seconds() < _START_SECONDS
