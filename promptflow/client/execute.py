"""Running what is submitted or goes on: lines and aggregation to the end, and what is kept of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from promptflow.batch.errors import run_error
from promptflow.batch.export import export
from promptflow.batch.options import RunOptions
from promptflow.batch.result import BatchResult
from promptflow.batch.resume import Attempts, previous_lines
from promptflow.batch.run import Progress, flow_lines, run_batch
from promptflow.batch.runlog import ProgressLog, run_log
from promptflow.client.records import to_record
from promptflow.client.traced import traced_as
from promptflow.contracts.flow import FLEX_FILES
from promptflow.contracts.run import Status
from promptflow.entities.run import CANCELED, COMPLETED, FAILED, Run, run_name
from promptflow.exceptions import PromptflowException, UserErrorException, WorkspaceError
from promptflow.executor.caching import caching
from promptflow.executor.loader import Executor
from promptflow.storage.folder import SNAPSHOT
from promptflow.storage.runs import RunStore
from promptflow.storage.snapshot import copy_snapshot, fingerprint
from promptflow.storage.writer import RunWriter
from promptflow.workspace import Workspace
from promptflow.workspace.urls import absolute, download, is_url, shown

DOWNLOADS = "downloads"  # data from urls, in the run's folder until the run has ended
_logger = logging.getLogger("promptflow.batch")


@dataclass(frozen=True)
class Again:
    """How a run goes on. ``retry``: failed lines run again; ``keep_nodes``: nodes of lines that did not end count."""

    retry: bool
    keep_nodes: bool


def execute(
    workspace: Workspace,
    store: RunStore,
    run: Run,
    executor: Executor | None,
    options: RunOptions,
    progress: Progress | None,
    *,
    failure: Exception | None = None,
    again: Again | None = None,
) -> None:
    """Run a run whose record says that it runs, and record its end. Without ``executor``, ``failure`` says why.

    Raises what is no fault of the user's data, mapping or flow; those faults are in the run's error.
    """
    try:
        with caching(executor, options.cache, workspace):
            _run(run, executor, failure, options, progress, again)
    except BaseException as error:
        run._status = CANCELED if isinstance(error, KeyboardInterrupt) else FAILED
        raise
    finally:
        run._end_time = datetime.now().astimezone()
        _record_end(workspace, store, run)
    if options.export and run._status == COMPLETED:
        _export(run, options.export)


def _export(run: Run, target: str) -> None:
    try:
        export(run.folder, target)
    except PromptflowException as error:
        error.hint = f"the run is kept; then: pf run export {run.name} --output {shown(target)}"
        raise


def _record_end(workspace: Workspace, store: RunStore, run: Run) -> None:
    try:
        store.save(to_record(run, workspace))
    except WorkspaceError as error:  # the disk is full, the database away: the lines that ended are safe
        kept = f"then: pf run resume {run.name} (what it wrote is in {run._output_path})"
        error.hint = f"{error.hint}; {kept}" if error.hint else kept
        raise


def _run(
    run: Run,
    executor: Executor | None,
    failure: Exception | None,
    options: RunOptions,
    progress: Progress | None,
    again: Again | None,
) -> None:
    assert run._output_path is not None
    writer = RunWriter(run._output_path)
    result: BatchResult | None = None
    with run_log(writer.log_file, run.name):
        try:
            take_snapshot(run, executor)
            if executor is None:
                assert failure is not None
                raise failure
            with executor.activated(), traced_as(run._flow_name, **_referenced(run)):
                lines = flow_lines(executor, data_files(run), run.column_mapping)
                logged = ProgressLog(lines.total)
                result = run_batch(
                    executor,
                    lines,
                    writer,
                    run_id=run.name,
                    options=options,
                    previous=_previous(run, executor),
                    attempts=_attempts(run, executor, again),
                    progress=_both(logged, progress),
                )
        except PromptflowException as error:
            failure = error
        finally:
            _finish(run, writer, result, failure)
    failure = failure or (result.exception if result is not None else None)  # type: ignore[assignment]
    if failure is not None and not isinstance(failure, UserErrorException):
        raise failure


def _finish(run: Run, writer: RunWriter, result: BatchResult | None, failure: Exception | None) -> None:
    """Sort and close the files; write metrics and error; set the run's status."""
    writer.close()
    exception = failure or (result.exception if result is not None else None)
    error = run_error(result, exception)
    if error is not None:
        writer.write_error(error)
        _logger.error(error["message"])
    if result is None:
        run._status, run._properties["system_metrics"] = FAILED, {}
        return
    writer.write_metrics(result.metrics)
    run._status = {Status.Completed: COMPLETED, Status.Canceled: CANCELED}.get(result.status, FAILED)
    if run._status == COMPLETED:
        shutil.rmtree(writer.path / DOWNLOADS, ignore_errors=True)
    run._properties["system_metrics"] = result.system_metrics()


def flow_folder(run: Run, executor: Executor | None) -> Path:
    """The folder with the flow's files: with what it includes from elsewhere, once it is loaded."""
    assert run.flow is not None
    if executor is not None:
        return Path(executor.flow.folder)
    return run.flow if run.flow.is_dir() else run.flow.parent


def take_snapshot(run: Run, executor: Executor | None) -> None:
    """Copy the flow's files into the run's folder, unless they are there."""
    assert run._output_path is not None
    target = run._output_path / SNAPSHOT
    if target.exists():
        return
    extra = {FLEX_FILES[0]: f"entry: {run._entry}\n"} if run._entry else {}
    copy_snapshot(flow_folder(run, executor), target, leave_out=run._output_path.parent, extra=extra)


def data_files(run: Run) -> dict[str, Path]:
    """Data files by the name that column mappings call them."""
    return {name: _local(run, name, place) for name, place in _sources(run).items()}


def fingerprints(run: Run) -> dict[str, str | None]:
    """What tells later whether the data are as they are now; of urls there is a copy."""
    return {name: fingerprint(Path(absolute(place))) for name, place in _sources(run).items() if not is_url(place)}


def _sources(run: Run) -> dict[str, str]:
    """Paths and urls."""
    sources: dict[str, str] = {}
    if run.data:
        sources["data"] = run.data
    if isinstance(run.run, Run):
        folder = run.run.folder.path
        sources["run.outputs"] = str(folder / "flow_outputs" / "output.jsonl")
        # a run on a run: what it was given
        sources["run.inputs"] = run.run.data or str(folder / "inputs.jsonl")
    return sources


def _local(run: Run, source: str, data: str) -> Path:
    """Where data can be read from: of a url, a copy in the run's folder."""
    assert run._output_path is not None
    return download(data, run._output_path / DOWNLOADS / source) if is_url(data) else Path(absolute(data))


def _referenced(run: Run) -> dict[str, str]:
    return {"referenced.batch_run_id": run_name(run.run)} if run.run else {}


def _attempts(run: Run, executor: Executor, again: Again | None) -> Attempts | None:
    if again is None:
        return None
    return Attempts(run.folder, executor, run.name, retry=again.retry, keep_nodes=again.keep_nodes)


def _previous(run: Run, executor: Executor) -> Iterable[Any]:
    if not isinstance(run._resume_from, Run):
        return ()
    return previous_lines(run._resume_from.folder, executor, run.name)


def _both(first: Progress, second: Progress | None) -> Callable[[BatchResult], None]:
    if second is None:
        return first
    other = second

    def both(result: BatchResult) -> None:
        first(result)
        other(result)

    return both
