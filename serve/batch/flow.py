"""A flow over the rows of an input: a run of the workspace, of the job's name, in a process of its own.

The job's process starts this module in the environment of the deployment: ``python -P -m serve.batch.flow --job FILE
--fd N``. What is done is in the run's own journal, so that to resume a job is to resume its run.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.client.client import PFClient
from promptflow.exceptions import PromptflowException, RunNotFoundError, ValidationException
from promptflow.workspace.atomic import make_folder, write_whole
from serve.batch.crew import TICK, JobFailedError, Stopped
from serve.batch.inputs import TABLE
from serve.batch.member import Launch, Member
from serve.batch.worker import send
from serve.endpoints.spec import Spec

if TYPE_CHECKING:
    from serve.batch.work import Task

_logger = logging.getLogger("serve.batch.job")
_SECONDS = 0.5  # between two messages of how far a run is
_FOREVER = 10.0 * 365 * 24 * 3600


def run_flow(task: Task, python: Path, secrets: Mapping[str, str], variables: Mapping[str, str]) -> None:
    """Run the flow of a job to its end. JobFailedError if it failed, Stopped if the job is to stop."""
    given = task.job.record["input"]
    if given["type"] == TABLE or not ("://" in given["path"] or Path(given["path"]).exists()):
        raise ValidationException("A flow goes through a file, a folder or a url, and not a table or a pattern.")
    words = task.folder / "worker.json"
    told = {
        "spec": task.spec.to_json(),
        "name": task.job.name,
        "data": given["path"],
        "again": task.job.record.get("again"),
    }
    told |= {"inputs": task.job.record.get("inputs"), "workers": task.settings.workers, "variables": dict(variables)}
    told |= {"output": str(make_folder(task.output) / task.settings.output_file)}
    write_whole(words, json.dumps(told).encode(), mode=0o600)
    lifeline, ours = os.pipe()
    environ = {**os.environ, **secrets}
    launch = Launch(python, "serve.batch.flow", ["--job", str(words)], environ, task.folder, lifeline)
    member = Member(launch, task.logs / "worker-0.log", _FOREVER)
    try:
        _follow(task, member)
    finally:
        member.kill()
        os.close(ours)
        os.close(lifeline)
        words.unlink(missing_ok=True)


def _follow(task: Task, member: Member) -> None:
    """Until the run has ended."""
    while True:
        if task.stop():
            raise Stopped
        if not wait([member.connection], TICK):
            continue
        answer = member.answer()
        if answer is None:
            raise JobFailedError(
                f"The process of the flow {member.ended_with()}.", hint=f"see {task.logs}/worker-0.log"
            )
        if "failed" in answer.told:
            raise JobFailedError(str(answer.told["failed"]), hint=str(answer.told["hint"]))
        progress = dict(answer.told["progress"])
        task.note(progress=progress)
        if answer.told.get("ended"):
            _check(task, progress)
            return


def _check(task: Task, progress: Mapping[str, int]) -> None:
    _logger.info("%d rows, %d failed", progress["items"], progress["failed_items"])
    most = task.settings.error_threshold
    if 0 <= most < progress["failed_items"]:
        raise JobFailedError(
            f"{progress['failed_items']} rows failed, and error_threshold is {most}.",
            hint=f"pf run show-details -n {task.job.name}; pf job resume tries them again",
        )
    if progress["items"] and progress["failed_items"] >= progress["items"]:
        raise JobFailedError(f"All {progress['items']} rows failed.", hint=f"pf run show-details -n {task.job.name}")


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    told = json.loads(args.job.read_bytes())
    connection = Connection(args.fd)
    spec = Spec.from_json(told["spec"])
    os.environ.update(told["variables"])
    try:
        _run(told, spec, connection)
    except PromptflowException as error:
        send(connection, {"failed": error.message, "hint": error.hint})
        return 1
    return 0


def _run(told: Mapping[str, Any], spec: Spec, connection: Connection) -> None:
    client = PFClient()
    sent = time.monotonic()

    def progress(result: Any) -> None:
        nonlocal sent
        if time.monotonic() - sent >= _SECONDS:
            sent = time.monotonic()
            send(connection, {"progress": _counts(result.total_lines, result.completed_lines, result.failed_lines)})

    name = told["name"]
    try:
        client.runs.get(name)
        again = client.runs.retry if told["again"] else client.runs.resume
        run = again(name, progress=progress)
    except RunNotFoundError:
        assert spec.code is not None
        run = client.run(
            spec.code / spec.scoring_script, data=told["data"], name=name, column_mapping=told["inputs"] or None,
            init=dict(spec.options.get("init") or {}) or None, connections=spec.options.get("connections"),
            concurrency=told["workers"] if told["workers"] > 1 else None, progress=progress,
        )  # fmt: skip
    if run.status != "Completed":
        error = run.folder.error().get("message", f"The run is {run.status}.")
        send(connection, {"failed": error, "hint": f"pf run show -n {name}"})
        return
    known = Path(told["output"]).suffix in (".csv", ".jsonl", ".parquet")
    rows = client.runs.export(name, told["output"], None if known else "csv")
    metrics = run.properties.get("system_metrics") or {}
    failed = int(metrics.get("__pf__.lines.failed") or 0)
    send(connection, {"progress": _counts(rows, rows - failed, failed), "ended": True})


def _counts(items: int, completed: int, failed: int) -> dict[str, int]:
    return {"items": items, "ended": completed + failed, "failed_items": failed, "rows": completed}


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.batch.flow", description=__doc__)
    result.add_argument("--job", type=Path, required=True, help="what the job's process wrote for it")
    result.add_argument("--fd", type=int, required=True, help="the connection to that process")
    return result


if __name__ == "__main__":
    sys.exit(main())
