"""Jobs over files: what drivers may return, what goes wrong, and what is left of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from catalog.registry import Registry
from catalog.schemas import model_spec
from catalog.uses import Uses
from promptflow.connections import CustomConnection
from promptflow.connections.store import ConnectionStore
from promptflow.exceptions import PromptflowException
from serve.batch.jobs import JobStateError, JobStore
from serve.batch.store import BatchStore
from serve.batch.submit import record_resume
from serve.batch.work import work
from tests.serve.batch.conftest import FILES, Deploy, RunJob, predictions

PLAIN = "".join(f"part-{at}.csv {3.0 * (at + 2)}\n" for at in range(FILES))


def log_of(store: BatchStore, name: str, file: str = "job.log") -> str:
    return (store.workspace.home / "jobs" / name / "logs" / file).read_text()


@pytest.mark.parametrize("workers", [1, 3])
def test_a_driver_goes_through_all_files_in_their_order(
    deploy: Deploy, run_job: RunJob, store: BatchStore, workers: int
) -> None:
    job = run_job(deploy(max_concurrency_per_instance=workers))
    assert (job.status, predictions(job)) == ("Completed", PLAIN)
    assert job.record["progress"] == {
        "mini_batches": 4, "ended": 4, "items": FILES, "failed_items": 0, "rows": FILES,
    }  # fmt: skip
    said = [log_of(store, job.name, f"worker-{at}.log") for at in range(workers)]
    assert "shut down\n" in said  # not all of several may have come to do anything


RETURNS = {
    "list": ("return [len(b), 'x y', 1.5, None][:len(b) + 1]", "2\nx y\n1.5\n"),
    "tuple": ("return tuple(b'ab' for _ in b)", "ab\nab\n"),
    "table": (
        "import pandas; return pandas.DataFrame({'name': ['a b', 'c'], 'p': [0.5, None], 'n': [1, 2]})",
        '"a b" 0.5 1\nc  2\n',
    ),
    "array": ("import numpy; return numpy.array([[1, 2], [3, 4]])", "1 2\n3 4\n"),
    "generator": ("return (str(i) for i, _ in enumerate(b))", "0\n1\n"),
    "generator of lists": ("return ([i, i] for i, _ in enumerate(b))", "0\n0\n1\n1\n"),
}


@pytest.mark.parametrize("code, text", RETURNS.values(), ids=RETURNS)
def test_what_run_may_return(deploy: Deploy, run_job: RunJob, project: Path, code: str, text: str) -> None:
    if "import" in code:
        pytest.importorskip(code.split()[1].rstrip(";"))
    job = run_job(deploy(f"def run(b):\n    {code}\n"), data=f"{project}/data/part-[01].csv")
    assert (job.status, predictions(job)) == ("Completed", text)


@pytest.mark.parametrize(
    "code, told",
    [
        ("return None", "run() returned nothing (None)"),
        ("return 'text'", "run() returned a str"),
        ("return 3", "run() returned a int"),
        ("raise ValueError('no good')", "run() raised ValueError at driver.py:2: no good"),
        ("import sys; sys.exit(3)", "run() raised SystemExit"),
        ("import os; os._exit(7)", "its worker ended with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "its worker was ended by SIGKILL"),
        ("while True: pass", "took longer than 0.5 s"),
    ],
)
def test_a_job_of_which_nothing_went_well_has_failed(deploy: Deploy, run_job: RunJob, code: str, told: str) -> None:
    retry = {"max_retries": 0, "timeout": 0.5 if "while" in code else 30}
    job = run_job(deploy(f"def run(b):\n    {code}\n", mini_batch_size=10, retry_settings=retry))
    assert job.status == "Failed"
    assert f"All {FILES} items failed: {told}" in job.record["error"]


@pytest.mark.parametrize(
    "code, told",
    [
        ("def init():\n    raise RuntimeError('no weights')\ndef run(b): return b\n", "init() of driver.py raised"),
        ("import nothing_of_this_name\n", "add 'nothing_of_this_name' to the conda_file"),
        ("def ran(b): return b\n", "has no function 'run'"),
        (
            "import os\ndef init(): os._exit(5)\ndef run(b): return b\n",
            "A worker ended with exit code 5 before it was ready",
        ),
        ("def run(b:\n", "SyntaxError"),
        (
            "def init():\n    while True: pass\ndef run(b): return b\n",
            "A worker was not ready within 0.7 s, by the end of init()",
        ),
    ],
)
def test_a_driver_that_cannot_be_loaded_fails_the_job(deploy: Deploy, run_job: RunJob, code: str, told: str) -> None:
    limit = {"init_timeout": 0.7} if "while" in code else None
    job = run_job(deploy(code, options=limit))
    assert job.status == "Failed"
    assert told in job.record["error"]


FRAIL = """
def run(batch):
    if any("part-3" in file for file in batch):
        raise ValueError("not that one")
    return batch
"""


def test_a_mini_batch_that_fails_takes_no_other_along(deploy: Deploy, run_job: RunJob, store: BatchStore) -> None:
    job = run_job(deploy(FRAIL, retry_settings={"max_retries": 2}))
    assert (job.status, predictions(job).count("\n")) == ("Completed", FILES - 2)
    assert job.record["progress"]["failed_items"] == 2
    assert log_of(store, job.name).count("not that one") == 4  # three tries, and what came of it
    assert "Traceback" in log_of(store, job.name, "worker-0.log")


@pytest.mark.parametrize("threshold, status", [(2, "Completed"), (1, "Failed")])
def test_the_threshold_is_in_files(deploy: Deploy, run_job: RunJob, threshold: int, status: str) -> None:
    job = run_job(deploy(FRAIL, error_threshold=threshold, retry_settings={"max_retries": 0}))
    assert job.status == status
    assert ("error_threshold is" in job.record["error"]) == (status == "Failed")


def test_rows_that_are_missing_count_as_failed_files(deploy: Deploy, run_job: RunJob, store: BatchStore) -> None:
    job = run_job(deploy("def run(b): return b[:1]\n", error_threshold=2))
    assert job.status == "Failed"
    assert "3 items failed" in job.record["error"]
    assert "run() gave 1 rows for 2 items" in log_of(store, job.name)
    assert run_job(deploy("def run(b): return b * 3\n", "more", error_threshold=0)).status == "Completed"


def test_a_try_that_fails_or_hangs_once_is_made_up_for(deploy: Deploy, run_job: RunJob, tmp_path: Path) -> None:
    code = f"""
import os, time

def run(batch):
    for mark, act in (("raised", lambda: 1 / 0), ("died", lambda: os._exit(9)), ("hung", lambda: time.sleep(60))):
        if not os.path.exists(r"{tmp_path}/" + mark):
            open(r"{tmp_path}/" + mark, "w").close()
            act()
    return batch
"""
    job = run_job(deploy(code, retry_settings={"max_retries": 3, "timeout": 2}))
    assert (job.status, predictions(job).count("\n")) == ("Completed", FILES)


def test_summary_only_writes_what_the_driver_writes(deploy: Deploy, run_job: RunJob) -> None:
    code = """
import os
def run(batch):
    for file in batch:
        with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(file) + ".out"), "w") as out:
            out.write("scored")
    return batch
"""
    job = run_job(deploy(code, output_action="summary_only"))
    names = sorted(file.name for file in Path(job.record["output"]).iterdir())
    assert names == [f"part-{at}.csv.out" for at in range(FILES)]
    assert job.record["progress"]["rows"] == FILES


def test_what_the_driver_finds_around_it(deploy: Deploy, run_job: RunJob, project: Path) -> None:
    (project / "code" / "serve.py").write_text("WHOSE = 'the user'")
    code = """
import argparse, os, serve
def init():
    global args
    args, _ = argparse.ArgumentParser().parse_known_args()
def run(batch):
    names = ("AZUREML_MODEL_DIR", "AZUREML_BI_OUTPUT_PATH", "LEVEL")
    return [serve.WHOSE, os.getcwd(), *(os.environ[name] for name in names)]
"""
    job = run_job(deploy(code, environment_variables={"LEVEL": "high"}, settings={"mini_batch_size": 10}))
    whose, cwd, model, output, level = predictions(job).splitlines()
    assert (whose, level, output) == ("the user", "high", job.record["output"])
    assert (Path(cwd) / "driver.py").is_file()
    assert (Path(model) / "model" / "factor.txt").read_text() == "3"


def test_secrets_of_connections_are_in_no_file(deploy: Deploy, run_job: RunJob, store: BatchStore) -> None:
    ConnectionStore(store.workspace).create_or_update(CustomConnection(name="shop", secrets={"key": "open-sesame"}))
    code = "import os\ndef run(b): return [os.environ['KEY'][::-1], os.environ['LEVEL']]\n"
    job = run_job(deploy(code, environment_variables={"KEY": "${shop.key}", "LEVEL": "high"}))
    assert predictions(job) == "emases-nepo\nhigh\n" * 4
    for file in JobStore(store.workspace).folder(job.name).rglob("*"):
        assert not file.is_file() or b"open-sesame" not in file.read_bytes()
    job = run_job(deploy(code, "other", environment_variables={"KEY": "${shop.none}"}))
    assert (job.status, "the connection shop has no none" in job.record["error"]) == ("Failed", True)


@pytest.mark.parametrize("text", ["print('x' * 100_000)", "import sys; sys.stderr.write('y' * 200_000)"])
def test_what_the_driver_prints_is_no_row(deploy: Deploy, run_job: RunJob, store: BatchStore, text: str) -> None:
    job = run_job(deploy(f"def run(b):\n    {text}\n    return b\n", mini_batch_size=10))
    assert predictions(job).count("\n") == FILES
    assert len(log_of(store, job.name, "worker-0.log")) >= 100_000


def test_an_empty_folder(deploy: Deploy, run_job: RunJob, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / ".hidden").touch()
    job = run_job(deploy(), data=tmp_path / "nothing")
    assert job.status == "Failed"
    assert "There are no files" in job.record["error"]


def test_a_file_that_is_gone_when_its_turn_comes(deploy: Deploy, run_job: RunJob, project: Path) -> None:
    code = f"import os\nos.path.exists(r'{project}/data/part-6.csv') and os.unlink(r'{project}/data/part-6.csv')\n"
    code += "def run(b): return [open(file).read()[:1] for file in b]\n"
    job = run_job(deploy(code, retry_settings={"max_retries": 0}))
    assert (job.status, job.record["progress"]["failed_items"]) == ("Completed", 1)


def test_output_goes_where_it_was_asked_for(deploy: Deploy, run_job: RunJob, tmp_path: Path) -> None:
    deployment = deploy()
    settings = replace(deployment.settings, output_file="mine.txt")
    run_job(deployment, output=str(tmp_path / "there"), settings=settings)
    assert (tmp_path / "there" / "mine.txt").read_text() == PLAIN
    with pytest.raises(PromptflowException, match="There is .*mine.txt already"):
        run_job(deployment, output=str(tmp_path / "there"), settings=settings)


def test_what_a_job_needs_is_held_until_it_ends(
    deploy: Deploy, run_job: RunJob, store: BatchStore, project: Path
) -> None:
    asset = Registry(store.workspace).create(model_spec({"name": "factor", "path": "model"}, project))
    deployment = deploy("def run(b): return b\n", model="azureml:factor:1")
    assert Uses(store.workspace).of(asset.id) == [deployment.id]
    job = run_job(deployment)
    assert job.status == "Completed"
    store.delete_deployment("sums", "driver")
    assert Uses(store.workspace).of(asset.id) == []


def test_a_failed_job_goes_on_with_what_failed(
    deploy: Deploy, run_job: RunJob, store: BatchStore, tmp_path: Path
) -> None:
    code = FRAIL.replace(
        'if any("part-3"', f'if not __import__("os").path.exists(r"{tmp_path}/mended") and any("part-3"'
    )
    code = code.replace("    if not", f'    open(r"{tmp_path}/log", "a").write("x")\n    if not')
    job = run_job(deploy(code, error_threshold=0, retry_settings={"max_retries": 0}))
    assert job.status == "Failed"
    (tmp_path / "mended").touch()
    record_resume(store.workspace, job.name)
    assert work(store.workspace, job.name) == 0
    job = JobStore(store.workspace).get(job.name)
    assert (job.status, predictions(job).count("\n")) == ("Completed", FILES)
    assert len((tmp_path / "log").read_text()) == 5  # four mini-batches, and one of them again
    with pytest.raises(JobStateError, match="is complete"):
        record_resume(store.workspace, job.name)


def test_events_and_rows_tell_of_a_job(deploy: Deploy, run_job: RunJob, store: BatchStore) -> None:
    job = run_job(deploy())
    kinds = [event.kind for event in store.workspace.events.list(subject=job.name)]
    assert kinds == ["job.created", "job.completed"]
    jobs = JobStore(store.workspace)
    assert [one.name for one in jobs.list(target="batch:sums/driver")] == [job.name]
    assert [one.name for one in jobs.list(target="batch:sums/")] == [job.name]
    assert jobs.list(target="batch:sum/") == []
    json.dumps(job.record)
