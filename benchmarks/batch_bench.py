"""Batch jobs against a bare loop over the same files in the same run: rows per second, and what kills cost.

    python -m benchmarks.batch_bench

A job's time is from its process's first line to its end; the loop's is that of its Python process. Both read the same
files with the same code, and write the same lines, which is checked.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.bench import WORK, Bench
from benchmarks.figures import Figure, show
from promptflow.workspace import Workspace
from serve.batch.deployment_file import read_batch_deployment
from serve.batch.inputs import resolve_input
from serve.batch.jobs import COMPLETED, Job, JobStore
from serve.batch.records import BatchDeployment, BatchEndpoint
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.batch.submit import Request, resume, submit

FILES, ROWS, REPEATS = 2000, 500, 3
KILLS, SLOW_FILES = 20, 120
DRIVER = """
import csv
import os
import sys


def init():
    pass


def run(mini_batch):
    found = []
    for file in mini_batch:
        with open(file, newline="") as rows:
            table = csv.reader(rows)
            next(table)
            total = sum(float(a) * float(b) for a, b, _ in table)
        found.append(f"{os.path.basename(file)} {total:.6f}")
    return found


if __name__ == "__main__":
    init()
    files = sorted(os.path.join(sys.argv[1], name) for name in os.listdir(sys.argv[1]))
    with open(sys.argv[2], "w") as out:
        for at in range(0, len(files), 10):
            out.writelines(f"{line}\\n" for line in run(files[at : at + 10]))
"""
SLOW = """
import os
import random
import time


def run(mini_batch):
    with open(os.environ["SEEN"], "a") as seen:
        seen.writelines(f"{file}\\n" for file in mini_batch)
    time.sleep(random.random() / 20)
    return [f"{os.path.basename(file)} {os.path.getsize(file)}" for file in mini_batch]
"""


def batch_jobs(bench: Bench) -> list[Figure]:
    """A driver over a million rows, and one that is killed twenty times."""
    return figures(bench.work)


def figures(work: Path) -> list[Figure]:
    folder = work / "batch"
    shutil.rmtree(folder, ignore_errors=True)
    data = _data(folder / "data", FILES, ROWS)
    with _store(folder) as store:
        return [*_speed(store, folder, data), _kills(store, folder, data)]


def _speed(store: BatchStore, folder: Path, data: Path) -> list[Figure]:
    one = _deploy(store, folder, "one", DRIVER, {"max_concurrency_per_instance": 1})
    two = _deploy(store, folder, "two", DRIVER, {"max_concurrency_per_instance": 2})
    seconds: dict[str, list[float]] = {"loop": [], "one": [], "two": []}
    for _ in range(REPEATS):
        begin = time.monotonic()
        words = [sys.executable, str(folder / "one" / "driver.py"), str(data), str(folder / "loop.txt")]
        subprocess.run(words, check=True)
        seconds["loop"].append(time.monotonic() - begin)
        for deployment in (one, two):
            job = JobStore(store.workspace).wait(_submit(store, deployment, data).name)
            assert _output(job) == (folder / "loop.txt").read_bytes(), "the job wrote other lines than the loop"
            seconds[deployment.name].append(_seconds(job))
    rows = {name: FILES * ROWS / median(found) for name, found in seconds.items()}
    return [
        Figure(
            f"batch job of {FILES * ROWS:,} rows in {FILES:,} files, {name}", f"{rows[key]:,.0f} rows/s",
            f"{rows['loop']:,.0f} bare loop", f">= {least:g}x", rows[key] >= least * rows["loop"],
        )
        for key, name, least in (("one", "1 worker", 0.8), ("two", "2 workers", 1.1))
    ]  # fmt: skip


def _kills(store: BatchStore, folder: Path, data: Path) -> Figure:
    """SIGKILL to the job's process at random moments, then `resume`."""
    few = folder / "few"
    few.mkdir()
    for file in sorted(data.iterdir())[:SLOW_FILES]:
        shutil.copy(file, few)
    settings = {"mini_batch_size": 1, "max_concurrency_per_instance": 2}
    deployment = _deploy(store, folder, "slow", SLOW, settings, SEEN=str(folder / "seen"))
    jobs, dice = JobStore(store.workspace), random.Random(11)
    whole = _output(jobs.wait(_submit(store, deployment, few).name))
    (folder / "seen").unlink()
    job, kills = _submit(store, deployment, few), 0
    while kills < KILLS and jobs.get(job.name).status != COMPLETED:
        time.sleep(dice.uniform(0.2, 1.1))
        kills += _kill(store.workspace, job.name)
        if jobs.get(job.name).status != COMPLETED:
            resume(store.workspace, job.name)
    job = jobs.wait(job.name)
    tries = Counter((folder / "seen").read_text().split())
    again = sum(tries.values()) - SLOW_FILES
    same = job.status == COMPLETED and _output(job) == whole and len(tries) == SLOW_FILES
    return Figure(
        f"batch job killed {kills} times, {SLOW_FILES} mini-batches, 2 workers",
        f"{'same bytes' if same else 'OTHER BYTES'}, {again} done again", "undisturbed job",
        f"same, <= {2 * kills} again", same and again <= 2 * kills,
    )  # fmt: skip


def _kill(workspace: Workspace, name: str) -> bool:
    process = workspace.processes.get(f"job-{name}")
    if process is None or not process.is_running:
        return False
    os.kill(process.pid, signal.SIGKILL)
    workspace.processes.wait(f"job-{name}", 10)
    return True


@contextmanager
def _store(folder: Path) -> Iterator[BatchStore]:
    with Workspace.open(folder / "home", "") as workspace:
        store = BatchStore(workspace)
        store.create(BatchEndpoint("bench"))
        yield store


def _deploy(
    store: BatchStore, folder: Path, name: str, code: str, settings: dict[str, int], **variables: str
) -> BatchDeployment:
    (folder / name).mkdir()
    (folder / name / "driver.py").write_text(code)
    data = {
        "name": name, "endpoint_name": "bench", "environment_variables": variables,
        "code_configuration": {"code": name, "scoring_script": "driver.py"}, "settings": settings,
    }  # fmt: skip
    return store.put(resolve_batch(read_batch_deployment(data, folder), store.workspace))


def _submit(store: BatchStore, deployment: BatchDeployment, data: Path) -> Job:
    return submit(store.workspace, deployment, Request(resolve_input(str(data)), deployment.settings))


def _output(job: Job) -> bytes:
    return (Path(job.record["output"]) / "predictions.csv").read_bytes()


def _seconds(job: Job) -> float:
    assert job.started and job.ended
    return (datetime.fromisoformat(job.ended) - datetime.fromisoformat(job.started)).total_seconds()


def _data(folder: Path, files: int, rows: int) -> Path:
    folder.mkdir(parents=True)
    dice = random.Random(3)
    for at in range(files):
        lines = (f"{dice.random():.6f},{dice.random():.6f},{number}\n" for number in range(rows))
        (folder / f"part-{at:05}.csv").write_text("a,b,n\n" + "".join(lines))
    return folder


if __name__ == "__main__":
    show(figures(WORK))
