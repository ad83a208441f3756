"""Drivers, data and YAML of batch deployments, as people have them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptflow.workspace import Workspace
from serve.batch.deployment_file import read_batch_deployment
from serve.batch.inputs import resolve_input
from serve.batch.jobs import Job, JobStore
from serve.batch.records import BatchDeployment, BatchEndpoint
from serve.batch.resolve import resolve_batch
from serve.batch.store import BatchStore
from serve.batch.submit import Request, record_job
from serve.batch.work import work

DRIVER = """
import os
from pathlib import Path


def init():
    global factor
    factor = float(open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "factor.txt")).read())


def run(mini_batch):
    return [f"{Path(file).name} {factor * len(open(file).readlines())}" for file in mini_batch]


def shutdown():
    print("shut down")
"""
FILES = 7


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """``code/driver.py``, ``model/factor.txt`` and ``data/``: files of 2, 3, 4, … lines."""
    folder = tmp_path / "project"
    files = {"code/driver.py": DRIVER, "model/factor.txt": "3"}
    files |= {f"data/part-{at}.csv": "a,b\n" + f"{at},1\n" * (at + 1) for at in range(FILES)}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def opened(home: Path) -> Workspace:
    return Workspace.open(home, "")


@pytest.fixture
def store(opened: Workspace) -> BatchStore:
    found = BatchStore(opened)
    found.create(BatchEndpoint("sums"))
    return found


Deploy = Callable[..., BatchDeployment]
RunJob = Callable[..., Job]


@pytest.fixture
def deploy(store: BatchStore, project: Path) -> Deploy:
    """A deployment of the driver, or of ``driver``'s text; other keywords are keys of the YAML."""

    def make(driver: str = "", name: str = "driver", **keys: Any) -> BatchDeployment:
        if driver:
            (project / "code" / "driver.py").write_text(driver)
        data = {
            "name": name, "endpoint_name": "sums", "model": {"path": "model"}, "mini_batch_size": 2,
            "code_configuration": {"code": "code", "scoring_script": "driver.py"}, **keys,
        }  # fmt: skip
        data = {key: value for key, value in data.items() if value is not None}
        return store.put(resolve_batch(read_batch_deployment(data, project), store.workspace))

    return make


@pytest.fixture
def run_job(store: BatchStore, project: Path) -> RunJob:
    """A job over ``project/data`` or ``data``, to its end, in this process."""

    def run(deployment: BatchDeployment, data: Path | str = "", **keys: Any) -> Job:
        given = resolve_input(str(data or project / "data"), keys.pop("type", ""))
        request = Request(given, keys.pop("settings", deployment.settings), **keys)
        job = record_job(store.workspace, deployment, request)
        work(store.workspace, job.name)
        return JobStore(store.workspace).get(job.name)

    return run


def predictions(job: Job) -> str:
    return (Path(job.record["output"]) / "predictions.csv").read_text()
