"""A job whose process is killed again and again: what it leaves is what an undisturbed one does."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from catalog.uses import Uses
from promptflow.workspace import pids
from serve.batch.deployment_file import read_batch_deployment
from serve.batch.inputs import resolve_input
from serve.batch.jobs import CANCELED, COMPLETED, FAILED, INTERRUPTED, Job, JobStateError, JobStore
from serve.batch.journal import Entry, Journal
from serve.batch.records import BatchDeployment
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.batch.submit import Request, record_job, resume, submit
from serve.batch.work import work
from tests.serve.batch.conftest import Deploy, RunJob, predictions

WORKERS, BATCHES = 2, 60
SLOW = """
import os, random, time
from pathlib import Path

def run(batch):
    with open(os.environ["SEEN"], "a") as seen:
        seen.write("".join(Path(file).name + "\\n" for file in batch))
    time.sleep(random.random() / 30)
    return [f"{Path(file).name} {open(file).read()}" for file in batch]
"""


@pytest.fixture
def slow(deploy: Deploy, project: Path, tmp_path: Path) -> BatchDeployment:
    """Sixty mini-batches that take a while, and note each try."""
    for file in (project / "data").iterdir():
        file.unlink()
    for at in range(BATCHES):
        (project / "data" / f"{at:03}.txt").write_text("x" * (at * 7 % 50))
    variables = {"SEEN": str(tmp_path / "seen")}
    return deploy(SLOW, mini_batch_size=1, max_concurrency_per_instance=WORKERS, environment_variables=variables)


def kill(store: BatchStore, name: str) -> bool:
    """SIGKILL to the job's process; False if it had ended."""
    process = store.workspace.processes.get(f"job-{name}")
    assert process is not None
    if not process.is_running:
        return False
    os.kill(process.pid, signal.SIGKILL)
    while pids.is_running(process.pid, process.identity):
        time.sleep(0.01)
    return True


def killed_to_its_end(store: BatchStore, slow: BatchDeployment, data: Path, kills: int) -> tuple[Job, int]:
    """A job whose process is killed at random until it has been often enough; how often it was."""
    dice = random.Random(7)
    jobs = JobStore(store.workspace)
    job = submit(store.workspace, slow, Request(resolve_input(str(data)), slow.settings))
    done = 0
    while done < kills:
        time.sleep(dice.uniform(0.0, 0.9))
        if kill(store, job.name):
            done += 1
            assert jobs.get(job.name).status in (INTERRUPTED, COMPLETED)
        if jobs.get(job.name).status == COMPLETED:
            break
        resume(store.workspace, job.name)
    return jobs.wait(job.name), done


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_job_leaves_the_same_bytes(
    slow: BatchDeployment, run_job: RunJob, store: BatchStore, project: Path, tmp_path: Path, kills: int
) -> None:
    undisturbed = predictions(run_job(slow))
    (tmp_path / "seen").unlink()
    job, done = killed_to_its_end(store, slow, project / "data", kills)
    assert (job.status, predictions(job)) == (COMPLETED, undisturbed)
    assert done
    tries = Counter((tmp_path / "seen").read_text().split())
    assert len(tries) == BATCHES
    assert sum(tries.values()) - BATCHES <= done * WORKERS  # no more than were in flight


def test_workers_end_with_the_job(deploy: Deploy, store: BatchStore, project: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, time
def run(batch):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(r"{tmp_path}/pid", "w").write(str(os.getpid()))
    while True:
        time.sleep(0.1)
"""
    deployment = deploy(code)
    job = submit(store.workspace, deployment, Request(resolve_input(str(project / "data")), deployment.settings))
    pid = _pid(tmp_path / "pid")
    identity = pids.identity(pid)
    assert identity
    kill(store, job.name)
    deadline = time.monotonic() + 10
    while pids.is_running(pid, identity) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not pids.is_running(pid, identity)
    (tmp_path / "pid").unlink()

    resume(store.workspace, job.name)
    with pytest.raises(JobStateError, match="goes on"):
        resume(store.workspace, job.name)
    pid = _pid(tmp_path / "pid")
    jobs = JobStore(store.workspace)
    store.workspace.processes.stop(f"job-{job.name}")  # a SIGTERM that nobody asked for by `pf job cancel`
    assert (jobs.get(job.name).status, pids.identity(pid)) == (INTERRUPTED, None)
    (tmp_path / "pid").unlink()

    resume(store.workspace, job.name)
    pid = _pid(tmp_path / "pid")
    assert jobs.cancel(job.name).status == CANCELED
    assert pids.identity(pid) is None


def test_a_job_without_a_process_can_be_canceled(deploy: Deploy, store: BatchStore, project: Path) -> None:
    deployment = deploy()
    asset = deployment.spec.assets[0]
    job = record_job(store.workspace, deployment, Request(resolve_input(str(project / "data")), deployment.settings))
    assert Uses(store.workspace).of(asset) == [deployment.id, job.id]
    assert JobStore(store.workspace).cancel(job.name).status == CANCELED
    assert Uses(store.workspace).of(asset) == [deployment.id]


def _pid(file: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (file.exists() and file.read_text()):
        time.sleep(0.02)
    return int(file.read_text())


def test_a_canceled_job_goes_on_where_it_was(
    slow: BatchDeployment, run_job: RunJob, store: BatchStore, project: Path, tmp_path: Path
) -> None:
    undisturbed = predictions(run_job(slow))
    (tmp_path / "seen").unlink()
    jobs = JobStore(store.workspace)
    job = submit(store.workspace, slow, Request(resolve_input(str(project / "data")), slow.settings))
    deadline = time.monotonic() + 20
    while not (tmp_path / "seen").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert jobs.cancel(job.name).status == CANCELED
    with pytest.raises(JobStateError, match="has ended"):
        jobs.cancel(job.name)
    resume(store.workspace, job.name)
    assert (jobs.wait(job.name).status, predictions(job)) == (COMPLETED, undisturbed)


@pytest.mark.parametrize("cut", [1, 2, 30, 10**6])
def test_a_torn_record_is_cut_off(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(Entry(1, 1, 0), b"one\n")
    whole = (tmp_path / "journal").stat().st_size
    journal.add(Entry(0, 1, 0), b"nothing much\n" * 3)
    journal.close()
    size = (tmp_path / "journal").stat().st_size
    os.truncate(tmp_path / "journal", max(whole, size - cut))
    again = Journal(tmp_path / "journal")
    assert [*again.entries] == [1]
    assert (tmp_path / "journal").stat().st_size == whole
    again.add(Entry(0, 2, 0), b"new\n")
    again.add(Entry(2, 0, 3, "failed"))
    assert b"".join(again.texts()) == b"new\none\n"
    again.close()


def test_a_record_whose_bytes_were_changed_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.add(Entry(0, 1, 0), b"good\n")
    journal.add(Entry(1, 1, 0), b"good\n")
    journal.close()
    data = (tmp_path / "journal").read_bytes()
    (tmp_path / "journal").write_bytes(data[::-1].replace(b"good"[::-1], b"evil"[::-1], 1)[::-1])
    again = Journal(tmp_path / "journal")
    assert [*again.entries] == [0]
    again.close()


def test_a_disk_that_is_full_fails_the_job_and_loses_nothing(
    deploy: Deploy, store: BatchStore, project: Path, tmp_path: Path
) -> None:
    code = "def run(batch):\n    return [chr(97 + int(batch[0][-5])) * 3000]\n"
    deployment = deploy(code, mini_batch_size=1)
    job = record_job(store.workspace, deployment, Request(resolve_input(str(project / "data")), deployment.settings))
    limited = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "from promptflow.workspace import Workspace; from serve.batch.work import work; "
    limited += "from serve.batch.journal import Journal; add = Journal.add\n"
    limited += "def full(self, *words):\n    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
    limited += "    return add(self, *words)\nJournal.add = full\n"
    limited += "sys.exit(work(Workspace.open(), sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", limited, job.name], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    jobs = JobStore(store.workspace)
    assert jobs.get(job.name).status in (FAILED, INTERRUPTED)  # the database may have been too large already
    text = (jobs.folder(job.name) / "logs" / "job.log").read_text()
    assert "the file would grow past the size limit" in text
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    resume(store.workspace, job.name)
    assert jobs.wait(job.name).status == COMPLETED
    assert predictions(job) == "".join(chr(97 + at) * 3000 + "\n" for at in range(7))
    assert work(store.workspace, job.name) == 0  # once more, with nothing left to do
    assert predictions(job) == "".join(chr(97 + at) * 3000 + "\n" for at in range(7))


def test_a_killed_flow_goes_on_with_its_run(store: BatchStore, project: Path, tmp_path: Path) -> None:
    (project / "flow").mkdir()
    (project / "flow" / "flow.flex.yaml").write_text("entry: slow:answer\n")
    (project / "flow" / "slow.py").write_text(
        "import time\n\ndef answer(number: int) -> str:\n"
        f"    open(r'{tmp_path}/seen', 'a').write(f'{{number}}\\n')\n    time.sleep(0.05)\n    return f'n{{number}}'\n"
    )
    (project / "rows.jsonl").write_text("".join(f'{{"number": {at}}}\n' for at in range(60)))
    data = {"name": "flow", "endpoint_name": "sums", "flow": "flow", "max_concurrency_per_instance": 2}
    deployment = store.put(resolve_batch(read_batch_deployment(data, project), store.workspace))
    job = submit(store.workspace, deployment, Request(resolve_input(str(project / "rows.jsonl")), deployment.settings))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (
        (tmp_path / "seen").exists() and len((tmp_path / "seen").read_text().split()) > 10
    ):
        time.sleep(0.02)
    assert kill(store, job.name)
    jobs = JobStore(store.workspace)
    assert jobs.get(job.name).status == INTERRUPTED
    resume(store.workspace, job.name)
    assert jobs.wait(job.name).status == COMPLETED
    rows = predictions(job).splitlines()[1:]
    assert [row.split(",")[2] for row in rows] == [f"n{at}" for at in range(60)]
    tries = Counter((tmp_path / "seen").read_text().split())
    assert sum(tries.values()) <= 62
