"""The log of a job, printed as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from promptflow.cli.output import Output
from serve.batch.jobs import COMPLETED, ENDED, INTERRUPTED, Job, JobStore
from serve.batch.work import LOG

_POLL_SECONDS = 0.2


def follow(jobs: JobStore, name: str, out: Output, *, aside: bool = False) -> Job:
    """Print the log of a job until it ends, or its process does; the job then. ``aside``: the log is not the result."""
    try:
        job = _followed(jobs, name, out, out.note if aside else out.text)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"the job '{name}' goes on: pf job stream -n {name}, pf job cancel -n {name}") from None
    if job.status == INTERRUPTED:
        said = jobs.log_of_process(name)
        if said:
            out.note(said)
        out.note(f"the process of the job '{name}' ended before the job did: pf job resume -n {name}")
    elif job.status != COMPLETED:
        out.note(f"{job.status}: {job.record.get('error') or 'on request'}")
    return job


def _followed(jobs: JobStore, name: str, out: Output, write: Callable[[str], None]) -> Job:
    log, at = jobs.folder(name) / "logs" / LOG, 0
    while True:
        job = jobs.get(name)  # before the log is read: what it says at the end is in there then
        at = _print(log, at, write)
        out.stdout.flush()
        if job.status in (*ENDED, INTERRUPTED):
            return job
        time.sleep(_POLL_SECONDS)


def _print(log: Path, at: int, write: Callable[[str], None]) -> int:
    """Whole lines from ``at`` on; where the next one begins."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            data = file.read()
    except FileNotFoundError:
        return at
    whole = data[: data.rfind(b"\n") + 1]
    if whole:
        write(whole.decode("utf-8", "replace").rstrip("\n"))
    return at + len(whole)
