"""Submitting a run: check it, record it, run it, keep what came of it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from promptflow.batch.columns import check_mapping
from promptflow.batch.errors import run_error
from promptflow.batch.export import check_target, export
from promptflow.batch.options import RunOptions
from promptflow.batch.result import BatchResult
from promptflow.batch.resume import previous_lines
from promptflow.batch.run import Progress, flow_lines, run_batch
from promptflow.batch.runlog import ProgressLog, run_log
from promptflow.client.records import to_record
from promptflow.client.taping import begin_tape, taped, taped_options
from promptflow.client.traced import traced_as
from promptflow.contracts.flow import FLEX_FILES
from promptflow.contracts.run import Status
from promptflow.entities.run import CANCELED, COMPLETED, FAILED, RUNNING, Run, run_name
from promptflow.exceptions import (
    FlowEntryInitializationError,
    InvalidFlowRequest,
    NodeInputValidationError,
    PathNotFoundError,
    PromptflowException,
    RunExistsError,
    RunNotFoundError,
    UserErrorException,
    ValidationException,
    WorkspaceError,
)
from promptflow.executor.loader import Executor, load_executor
from promptflow.storage.runs import RunStore, taken
from promptflow.storage.snapshot import copy_snapshot
from promptflow.storage.writer import RunWriter
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder
from promptflow.workspace.urls import absolute, download, exists, is_url, shown

FLOW_FOLDER = "${flow_directory}"
DOWNLOADS = "downloads"  # data from urls, in the run's folder until the run has ended
# What makes the flow itself impossible fails the run; what else keeps it from being loaded (a file, a package, a
# connection that is not there) is raised, and nothing is recorded.
_FAILS_THE_RUN = (FlowEntryInitializationError, InvalidFlowRequest)
_logger = logging.getLogger("promptflow.batch")


def submit(workspace: Workspace, store: RunStore, run: Run, progress: Progress | None = None) -> Run:
    """Run ``run`` to its end; its status, times and results are in the object and in the workspace.

    What the user's data, mapping or flow did wrong fails the run and is in its error; what the user asked wrongly
    (no data, an unknown variant, a taken name) is raised, and nothing is recorded.
    """
    _check(run)
    options = taped_options(run, RunOptions.of(run._options))
    if options.export:
        check_target(options.export)
        run._options["export"] = options.export
    run._output_path = output_path(workspace, run)
    run.display_name = run.formatted_display_name()
    with taped(workspace, run):
        _submit(workspace, store, run, options, progress)
    return run


def _submit(workspace: Workspace, store: RunStore, run: Run, options: RunOptions, progress: Progress | None) -> None:
    executor: Executor | None = None
    failure: Exception | None = None
    try:
        with traced_as(run._flow_name):
            executor = load(workspace, run)
    except _FAILS_THE_RUN as error:
        if isinstance(error, NodeInputValidationError):
            raise
        failure = error
    run._status, run._start_time = RUNNING, datetime.now().astimezone()
    _claim_folder(run, store)
    begin_tape(run)
    store.add(to_record(run, workspace))
    try:
        _run(run, executor, failure, options, progress)
    except BaseException:
        run._status = FAILED
        raise
    finally:
        run._end_time = datetime.now().astimezone()
        _record_end(workspace, store, run)
    if options.export and run._status == COMPLETED:
        _export(run, options.export)


def load(workspace: Workspace, run: Run) -> Executor:
    """The executor of a run's flow, with the run's variant, connections, init and environment."""
    return load_executor(
        run._dynamic_callable or run._entry or run.flow,
        code=run.flow if run._dynamic_callable or run._entry else None,
        variant=run.variant,
        connections=run.connections or None,
        overrides=run._overrides or None,
        init=run.init,
        environment_variables=run.environment_variables or None,
        workspace=workspace,
    )


def output_path(workspace: Workspace, run: Run) -> Path:
    """Where the run's folder is: setting ``run.output_path``, else the workspace."""
    setting = workspace.settings.get("run.output_path")
    parent = Path(workspace.runs_folder)
    if setting and run.flow is not None:
        flow = run.flow if run.flow.is_dir() else run.flow.parent
        chosen = Path(str(setting).replace(FLOW_FOLDER, flow.as_posix())).expanduser().resolve()
        if chosen == flow:
            _logger.warning("%s is no place for runs: setting run.output_path is ignored", setting)
        else:
            parent = chosen
    return (parent / run.name).resolve()


def _check(run: Run) -> None:
    if not run.run and not run.data and not run._resume_from:
        raise UserErrorException("Either run or data or resume from run must be specified for flow run.")
    if run.data:
        found = exists(run.data) if is_url(run.data) else Path(absolute(run.data)).exists()
        if not found:
            raise PathNotFoundError(f"data path {shown(run.data)} does not exist")
        run.data = absolute(run.data)  # now: the flow's folder is the working directory later
    check_mapping(run.column_mapping)
    if "/" in run.name or "\\" in run.name or run.name in {".", ".."}:
        raise ValidationException(f"{run.name!r} is no name for a run: it may not hold a path.")
    if not run.name.isprintable() or run.name[:1] in {"-", "@"}:  # a folder and a word of command lines
        raise ValidationException(f"{run.name!r} is no name for a run.", hint="letters, digits, - and _ always do")


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


def _claim_folder(run: Run, store: RunStore) -> None:
    """Make the run's folder, which one process alone can do. Raises RunExistsError where it is there already."""
    assert run._output_path is not None
    make_folder(run._output_path.parent)
    try:
        run._output_path.mkdir()
    except FileExistsError:
        try:
            store.get(run.name)
        except RunNotFoundError:
            raise RunExistsError(
                f"The folder of run {run.name!r} already exists.",
                location=str(run._output_path),
                hint="give another name, or remove the folder",
            ) from None
        raise taken(run.name) from None
    except OSError as error:
        raise file_error("create the folder", run._output_path, error) from error


def _run(
    run: Run, executor: Executor | None, failure: Exception | None, options: RunOptions, progress: Progress | None
) -> None:
    assert run._output_path is not None
    writer = RunWriter(run._output_path)
    result: BatchResult | None = None
    with run_log(writer.log_file, run.name):
        try:
            if executor is None:
                assert failure is not None
                raise failure
            with executor.activated(), traced_as(run._flow_name, **_referenced(run)):
                lines = flow_lines(executor, _sources(run), run.column_mapping)
                logged = ProgressLog(lines.total)
                result = run_batch(
                    executor,
                    lines,
                    writer,
                    run_id=run.name,
                    options=options,
                    previous=_previous(run, executor),
                    progress=_both(logged, progress),
                )
        except PromptflowException as error:
            failure = error
        finally:
            _finish(run, executor, writer, result, failure)
    failure = failure or (result.exception if result is not None else None)  # type: ignore[assignment]
    if failure is not None and not isinstance(failure, UserErrorException):
        raise failure


def _finish(
    run: Run, executor: Executor | None, writer: RunWriter, result: BatchResult | None, failure: Exception | None
) -> None:
    """Sort and close the files; write metrics, error and snapshot; set the run's status."""
    writer.close()
    _snapshot(run, executor, writer)
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


def _snapshot(run: Run, executor: Executor | None, writer: RunWriter) -> None:
    assert run._output_path is not None and run.flow is not None
    flow = run.flow if run.flow.is_dir() else run.flow.parent
    folder = executor.flow.folder if executor is not None else flow
    target = writer.path / "snapshot"
    copy_snapshot(folder, target, leave_out=run._output_path.parent)
    if run._entry and not (target / FLEX_FILES[0]).exists():
        (target / FLEX_FILES[0]).write_text(f"entry: {run._entry}\n", encoding="utf-8")


def _sources(run: Run) -> dict[str, Path]:
    """Data files by the name that column mappings call them."""
    sources: dict[str, Path] = {}
    if run.data:
        sources["data"] = _local(run, "data", run.data)
    if isinstance(run.run, Run):
        folder = run.run.folder
        sources["run.outputs"] = folder.path / "flow_outputs" / "output.jsonl"
        if run.run.data:
            sources["run.inputs"] = _local(run, "run.inputs", run.run.data)
        else:  # a run on a run: what it was given
            sources["run.inputs"] = folder.path / "inputs.jsonl"
    return sources


def _local(run: Run, source: str, data: str) -> Path:
    """Where data can be read from: of a url, a copy in the run's folder."""
    assert run._output_path is not None
    return download(data, run._output_path / DOWNLOADS / source) if is_url(data) else Path(absolute(data))


def _referenced(run: Run) -> dict[str, str]:
    return {"referenced.batch_run_id": run_name(run.run)} if run.run else {}


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
