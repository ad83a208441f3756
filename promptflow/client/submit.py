"""Submitting a run: check it, record it, run it, keep what came of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from promptflow.batch.columns import check_mapping
from promptflow.batch.export import check_target
from promptflow.batch.options import RunOptions
from promptflow.batch.run import Progress
from promptflow.client.execute import execute, fingerprints
from promptflow.client.records import to_record
from promptflow.client.taping import begin_tape, taped, taped_options
from promptflow.client.traced import traced_as
from promptflow.entities.run import RUNNING, Run
from promptflow.exceptions import (
    FlowEntryInitializationError,
    InvalidFlowRequest,
    NodeInputValidationError,
    PathNotFoundError,
    RunExistsError,
    RunNotFoundError,
    UserErrorException,
    ValidationException,
)
from promptflow.executor.loader import Executor, load_executor
from promptflow.storage.runlock import RunLock, is_unused
from promptflow.storage.runs import RunStore, taken
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import file_error, make_folder
from promptflow.workspace.urls import absolute, exists, is_url, shown

FLOW_FOLDER = "${flow_directory}"
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
    with RunLock(_claim_folder(run, store), run.name):
        run._start_time, run._sources = datetime.now().astimezone(), fingerprints(run)
        store.add(replace(to_record(run, workspace), status=RUNNING))
        run._status = RUNNING
        begin_tape(run)  # after: a folder with a tape in it, but no run, would keep the name
        execute(workspace, store, run, executor, options, progress, failure=failure)


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


def _claim_folder(run: Run, store: RunStore) -> Path:
    """Make the run's folder, which one process alone can do. Raises RunExistsError where it is there already."""
    folder = run._output_path
    assert folder is not None
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        try:
            store.get(run.name)
        except RunNotFoundError:
            if is_unused(folder):  # its maker was killed before it could record the run
                return folder
            raise RunExistsError(
                f"The folder of run {run.name!r} already exists.",
                location=str(folder),
                hint="give another name, or remove the folder",
            ) from None
        raise taken(run.name) from None
    except OSError as error:
        raise file_error("create the folder", folder, error) from error
    return folder
