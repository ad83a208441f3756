"""Endpoints, deployments and jobs on every kind of database."""

from __future__ import annotations

from dataclasses import replace

from promptflow.workspace import Workspace
from serve.batch.jobs import CANCELED, NOT_STARTED, Job, JobStore
from serve.batch.records import BatchDeployment, BatchEndpoint, Settings
from serve.batch.store import BatchStore
from serve.endpoints.spec import SCRIPT, Spec


def test_endpoints_and_deployments_are_kept(workspace: Workspace) -> None:
    store = BatchStore(workspace)
    made = store.create(BatchEndpoint("sums", description="d", tags={"a": "b"}))
    assert store.get("sums") == made
    kept = store.put(BatchDeployment("sums", "one", Spec(SCRIPT), Settings(3, 0, 2), recorded={"compute": "c"}))
    assert store.deployments() == [kept]
    assert store.default("sums") == kept
    changed = store.put(replace(kept, settings=Settings(5)))
    assert (changed.revision, changed.created) == (2, kept.created)
    store.delete("sums")
    assert (store.list(), store.deployments()) == ([], [])


def test_jobs_are_kept(workspace: Workspace) -> None:
    jobs = JobStore(workspace)
    for name, target in (("a", "batch:sums/one"), ("b", "batch:sums/two"), ("c", "batch:sum/one")):
        jobs.add(Job(name, target=target, record={"input": {"path": "p"}}))
    assert [job.name for job in jobs.list()] == ["c", "b", "a"]
    assert [job.name for job in jobs.list(target="batch:sums/")] == ["b", "a"]
    assert [job.name for job in jobs.list(target="batch:sums/two", limit=1)] == ["b"]
    jobs.change("b", archived=True)
    assert [job.name for job in jobs.list(archived=False)] == ["c", "a"]
    assert [job.name for job in jobs.list(archived=True)] == ["b"]
    assert (jobs.get("a").status, jobs.get("a").record) == (NOT_STARTED, {"input": {"path": "p"}})
    assert jobs.cancel("a").status == CANCELED
