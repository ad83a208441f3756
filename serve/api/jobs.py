"""``/api/v1/jobs``: what was sent to batch endpoints, and how it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from serve.api.bodies import JobAnswer
from serve.api.running import JobName, Running
from serve.batch.document import job_document
from serve.batch.jobs import ENDED, INTERRUPTED, Job, JobStore
from serve.batch.submit import resume
from serve.batch.work import LOG

MOST = 1000
_POLL_SECONDS = 0.2


def routes(server: Running) -> APIRouter:
    """The routes of jobs."""
    router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
    jobs = JobStore(server.workspace)

    @router.get("")
    async def list_jobs(limit: Annotated[int, Query(ge=1, le=MOST)] = 50, archived: bool = False) -> list[JobAnswer]:
        """Jobs, newest first: those that are archived, or the others."""
        return [shown(job) for job in await asyncio.to_thread(lambda: jobs.list(limit=limit, archived=archived))]

    @router.get("/{job}")
    async def get_job(job: JobName) -> JobAnswer:
        """One job: its status, its progress, where its output is."""
        return shown(await asyncio.to_thread(jobs.get, job))

    @router.get("/{job}/log", response_class=StreamingResponse, responses={200: {"content": {"text/plain": {}}}})
    async def stream_log(
        job: JobName, follow: Annotated[bool, Query(description="Go on until the job has ended.")] = False
    ) -> StreamingResponse:
        """The log of a job, as text."""
        await asyncio.to_thread(jobs.get, job)
        return StreamingResponse(_said(jobs, job, follow), media_type="text/plain")

    @router.post("/{job}/cancel")
    async def cancel_job(job: JobName) -> JobAnswer:
        """Stop a job. What it has done so far stays."""
        return shown(await asyncio.to_thread(jobs.cancel, job))

    @router.post("/{job}/resume")
    async def resume_job(job: JobName) -> JobAnswer:
        """Go on with a job that was interrupted or canceled, or has failed. What is done is not done again."""
        return shown(await asyncio.to_thread(resume, server.workspace, job))

    return router


def shown(job: Job) -> JobAnswer:
    """A job as `pf job show` prints it, and its status where clients of Azure look for it."""
    return JobAnswer(id=f"/jobs/{job.name}", properties={"status": job.status}, **job_document(job))


async def _said(jobs: JobStore, name: str, follow: bool) -> AsyncIterator[bytes]:
    """Whole lines of the log."""
    log, at = jobs.folder(name) / "logs" / LOG, 0
    while True:
        job = await asyncio.to_thread(
            jobs.get, name
        )  # before the log is read: what it says at the end is in there then
        text = await asyncio.to_thread(_lines, log, at)
        if text:
            yield text
            at += len(text)
        if not follow or job.status in (*ENDED, INTERRUPTED):
            return
        await asyncio.sleep(_POLL_SECONDS)


def _lines(log: Path, at: int) -> bytes:
    """From there to the end of the last whole one."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            data = file.read()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]
