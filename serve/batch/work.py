"""The process of a job, from its first line to its last: what it is to do is in its row, what it did in its folder."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from catalog.uses import Uses
from promptflow.exceptions import PromptflowException
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder, replacing, write_whole
from promptflow.workspace.clock import now_text
from promptflow.workspace.locks import file_lock
from serve.batch.crew import Crew, JobFailedError, Stopped, Watch
from serve.batch.inputs import Input
from serve.batch.jobs import CANCEL_REQUESTED, CANCELED, COMPLETED, FAILED, RUNNING, Job, JobStore
from serve.batch.journal import Entry, Journal
from serve.batch.member import Launch
from serve.batch.plan import Plan, load_plan
from serve.batch.records import APPEND_ROW, Settings
from serve.bound import outside
from serve.endpoints.spec import FLOW, Spec
from serve.endpoints.spec_rows import spec_from_row
from serve.endpoints.variables import looked_up
from serve.environments.build import Environments

PROGRESS_SECONDS = 1.0  # between two notes of how far the job is
INIT_SECONDS = 600.0  # that init() has; `options: {init_timeout: 60}` changes it
LOG = "job.log"
_FORMAT = "%(asctime)s %(levelname).1s %(message)s"
_logger = logging.getLogger("serve.batch.job")


@dataclass
class Task:
    """A job that is being worked on."""

    workspace: Workspace
    jobs: JobStore
    job: Job
    folder: Path
    spec: Spec
    settings: Settings
    stopping: bool = False
    noted: float = 0.0

    @property
    def output(self) -> Path:
        return Path(self.job.record["output"])

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def stop(self) -> bool:
        return self.stopping

    def note(self, **values: Any) -> None:
        """Change what the row tells of the job."""
        self.job = replace(self.job, record={**self.job.record, **values})
        self.jobs.change(self.job.name, record=dict(self.job.record))


def work(workspace: Workspace, name: str) -> int:
    """Go on with a job from where it is; the exit code of the process."""
    jobs = JobStore(workspace)
    job, folder = jobs.get(name), jobs.folder(name)
    spec = spec_from_row(job.record["spec"], workspace.home)
    task = Task(workspace, jobs, job, folder, spec, Settings.from_json(job.record["settings"]))
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(task, "stopping", True))
    try:
        with file_lock(folder / "lock", timeout=10.0), _log(task):
            return _work(task)
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(task: Task) -> int:
    name = task.job.name
    task.jobs.change(name, status=RUNNING, started=task.job.started or now_text(), ended=None)
    _logger.info("job %s: %s of %s", name, task.job.target, task.job.record["input"]["path"])
    status, error = COMPLETED, ""
    try:
        if task.spec.kind == FLOW:
            from serve.batch.flow import run_flow  # with the client of runs

            run_flow(task, environment(task), *variables(task))
        else:
            _go_through(task)
    except Stopped:
        if task.jobs.get(name).status != CANCEL_REQUESTED:  # the machine goes down, perhaps: nobody has canceled it
            _logger.warning("job %s: its process was told to end", name)
            return 1
        status = CANCELED
    except PromptflowException as failure:
        status, error = FAILED, f"{failure.message}{f' ({failure.hint})' if failure.hint else ''}"
    except OSError as failure:
        status, error = FAILED, str(file_error("write", failure.filename or task.folder, failure))
    except Exception as failure:
        _logger.exception("the job failed")
        status, error = FAILED, f"{type(failure).__name__}: {failure}"
    if error:
        _logger.error("%s", error)
    try:
        _end(task, status, error)
    except PromptflowException as failure:  # then the row still says that it runs, and people see that it does not
        _logger.error("%s", failure)
        return 1
    return 0 if status == COMPLETED else 1


def _end(task: Task, status: str, error: str) -> None:
    _logger.info("job %s: %s", task.job.name, status)  # first: who follows the log stops when the status has changed
    task.note(error=error)
    task.jobs.change(task.job.name, status=status, ended=now_text())
    Uses(task.workspace).end(task.job.id)
    task.workspace.events.append(f"job.{status.lower()}", task.job.name, {"error": error} if error else None)


def _go_through(task: Task) -> None:
    record, settings = task.job.record, task.settings
    given = Input.from_json(record["input"])
    plan = load_plan(task.folder / "plan", given, settings)
    if not plan.batches:
        raise JobFailedError(f"There are no files in {given.path}.")
    journal = Journal(task.folder / "journal")
    try:
        left = _left(plan, journal, again=bool(record.get("again")))
        _logger.info("%d mini-batches of %d items, %d are left", len(plan.batches), plan.items, len(left))
        if left:
            _do(task, plan, journal, left)
        _check(task, plan, journal)
        if settings.output_action == APPEND_ROW:
            _write(task.output / settings.output_file, journal)
        _tell(task, plan, journal)
    finally:
        journal.close()


def _left(plan: Plan, journal: Journal, *, again: bool) -> list[int]:
    """What is to be done: with ``again``, what failed as well."""
    ended = {index for index, entry in journal.entries.items() if entry.is_done or not again}
    return [index for index in range(len(plan.batches)) if index not in ended]


def _do(task: Task, plan: Plan, journal: Journal, left: list[int]) -> None:
    make_folder(task.output)
    python = environment(task)
    words = task.folder / "worker.json"
    secrets, plain = variables(task)
    told = {
        "spec": task.spec.to_json(),
        "settings": task.settings.to_json(),
        "reader": vars(plan.reader) if plan.reader else None,
        "fetched": str(task.folder / "fetched"),
        "variables": {"AZUREML_BI_OUTPUT_PATH": str(task.output), **plain},
    }
    write_whole(words, json.dumps(told).encode(), mode=0o600)
    lifeline, ours = os.pipe()
    environ = {**outside(os.environ), **secrets}
    launch = Launch(python, "serve.batch.worker", ["--job", str(words)], environ, task.folder, lifeline)
    seconds = float(task.spec.options.get("init_timeout") or INIT_SECONDS)
    again = {*left}
    failed = sum(entry.failed for entry in journal.entries.values() if entry.index not in again)

    def note(entry: Entry, text: bytes) -> None:
        nonlocal failed
        journal.add(entry, text)
        failed += entry.failed
        _logger.info("mini-batch %d: %d rows%s", entry.index, entry.rows, f", {entry.error}" if entry.error else "")
        _check_threshold(task, journal, failed)

    def tick() -> None:
        if time.monotonic() - task.noted >= PROGRESS_SECONDS:
            task.noted = time.monotonic()
            _tell(task, plan, journal)

    try:
        Crew(launch, task.logs, plan, task.settings, seconds).work(left, note, Watch(task.stop, tick))
    finally:
        os.close(ours)
        os.close(lifeline)
        words.unlink(missing_ok=True)
        with suppress(PromptflowException):  # where the disk is full, that is the error
            _tell(task, plan, journal)


def variables(task: Task) -> tuple[dict[str, str], dict[str, str]]:
    """The deployment's environment variables: those that are secrets of connections, and the others."""
    secrets = looked_up(task.spec.variables, task.workspace)
    return secrets, {name: text for name, text in task.spec.variables.items() if name not in secrets}


def environment(task: Task) -> Path:
    """The interpreter of the deployment's environment, which is made if it is not there."""
    return Environments(task.workspace.home).make(task.spec.environment, lambda line: _logger.info("%s", line))


def _check_threshold(task: Task, journal: Journal, failed: int) -> None:
    most = task.settings.error_threshold
    if 0 <= most < failed:
        raise JobFailedError(
            f"{failed} items failed, and error_threshold is {most}: {_first_error(journal)}",
            hint=f"pf job resume {task.job.name} tries them again",
        )


def _check(task: Task, plan: Plan, journal: Journal) -> None:
    """A job of which nothing went well has failed, whatever its threshold."""
    failed = sum(entry.failed for entry in journal.entries.values())
    _check_threshold(task, journal, failed)
    if failed >= plan.items:
        raise JobFailedError(f"All {plan.items} items failed: {_first_error(journal)}")


def _first_error(journal: Journal) -> str:
    found = [journal.entries[index].error for index in sorted(journal.entries) if journal.entries[index].failed]
    return next((error for error in found if error), "run() gave fewer rows than it got items")


def _write(target: Path, journal: Journal) -> None:
    make_folder(target.parent)
    with replacing(target) as file:
        for text in journal.texts():
            file.write(text)


def _tell(task: Task, plan: Plan, journal: Journal) -> None:
    entries = journal.entries.values()
    task.note(
        progress={
            "mini_batches": len(plan.batches),
            "ended": len(journal.entries),
            "items": plan.items,
            "failed_items": sum(entry.failed for entry in entries),
            "rows": sum(entry.rows for entry in entries),
        }
    )


@contextmanager
def _log(task: Task) -> Iterator[None]:
    """What the job has to say goes to its log; to what its process prints only where that cannot be written."""
    make_folder(task.logs)
    handler: logging.Handler = logging.FileHandler(task.logs / LOG, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.handleError = lambda record: print(record.getMessage(), file=sys.stderr, flush=True)  # type: ignore[method-assign]
    _logger.addHandler(handler)
    _logger.setLevel(task.settings.logging_level.upper())
    _logger.propagate = False
    try:
        yield
    finally:
        _logger.removeHandler(handler)
        handler.close()
