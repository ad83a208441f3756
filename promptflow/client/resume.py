"""Going on with a run that did not get to its end, and running the failed lines of one again."""

from __future__ import annotations

import shutil
from contextlib import suppress

from promptflow.batch.options import RunOptions
from promptflow.batch.run import Progress
from promptflow.client.execute import Again, execute, fingerprints, flow_folder
from promptflow.client.records import to_record, to_run
from promptflow.client.run_events import announced
from promptflow.client.submit import load
from promptflow.client.taping import begin_tape, taped, taped_options
from promptflow.client.traced import traced_as
from promptflow.contracts.flow import FLEX_FILES
from promptflow.entities.run import COMPLETED, RUNNING, Run, run_name
from promptflow.exceptions import FlowChangedError, RunNotFoundError, RunOperationError
from promptflow.executor.loader import Executor
from promptflow.storage.folder import SNAPSHOT
from promptflow.storage.journal import segments
from promptflow.storage.layout import LINES
from promptflow.storage.runlock import RunLock
from promptflow.storage.runs import RunStore
from promptflow.storage.snapshot import changed_files
from promptflow.workspace import Workspace


def resume(
    workspace: Workspace,
    store: RunStore,
    name: str,
    *,
    retry: bool = False,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> None:
    """Go on with a run from where it ended; with ``retry``, its failed lines run again from their beginning.

    A run that has nothing left to do stays as it is. Raises RunGoesOnError while a process works on it, and
    FlowChangedError where its flow or its data are not what they were, unless ``accept_changes``.
    """
    folder = to_run(store.get(name)).folder
    # One that was killed before its journal began has no lines either, and begins now.
    if not segments(folder.journal) and any((folder.path / LINES).glob("*.jsonl")):
        raise RunOperationError(
            f"Run {name!r} has no journal to go on from.", hint=f"pf run create --resume-from {name} makes a new run"
        )
    with RunLock(folder.path, name):
        run = _load_run(workspace, store, name)  # under the lock: it is what it will be
        if _is_done(run, retry):
            return
        options = taped_options(run, RunOptions.of(run._options))
        with taped(workspace, run):
            executor, keep_nodes = _load_flow(workspace, run, accept_changes)
            begin_tape(run)
            run._status, run._end_time, run._sources = RUNNING, None, fingerprints(run)
            store.save(to_record(run, workspace))
            with announced(workspace, run, progress) as noted:
                again = Again(retry=retry, keep_nodes=keep_nodes)
                execute(workspace, store, run, executor, options, noted, again=again)


def _load_flow(workspace: Workspace, run: Run, accept_changes: bool) -> tuple[Executor, bool]:
    """The flow, and whether it and its data are what they were. Raises FlowChangedError."""
    with traced_as(run._flow_name):
        executor = load(workspace, run)
    changes = _changes(run, executor)
    if changes and not accept_changes:
        raise FlowChangedError(
            f"The flow or the data of run {run.name!r} changed since it began: {'; '.join(changes[:10])}.",
            hint="--accept-changes goes on all the same; lines that have ended stay as they are",
        )
    if changes:
        shutil.rmtree(run.folder.path / SNAPSHOT, ignore_errors=True)
    return executor, not changes


def _load_run(workspace: Workspace, store: RunStore, name: str) -> Run:
    """The run with the runs that it reads from."""
    run = to_run(store.get(name), workspace)
    if run.run:
        run.run = to_run(store.get(run_name(run.run)))
    if run._resume_from:
        with suppress(RunNotFoundError):  # then its lines run like any other
            run._resume_from = to_run(store.get(run_name(run._resume_from)))
    return run


def _is_done(run: Run, retry: bool) -> bool:
    """Whether all lines have ended as they are to, and the aggregation too."""
    if run.status != COMPLETED:
        return False
    metrics = run.properties.get("system_metrics") or {}
    return not (retry and metrics.get("__pf__.lines.failed")) and not _aggregation_failed(run)


def _aggregation_failed(run: Run) -> bool:
    infos = run.folder.error().get("additionalInfo") or ()
    return any("aggregation_node_name" in error for info in infos for error in info["info"].get("errors") or ())


def _changes(run: Run, executor: Executor) -> list[str]:
    """How flow and data differ from those that the run began with, in words."""
    folder = run.folder.path
    snapshot = folder / SNAPSHOT
    changes: list[str] = []
    if snapshot.is_dir():  # else it was interrupted before there was anything to compare with
        made = FLEX_FILES[:1] if run._entry else ()
        changes = changed_files(flow_folder(run, executor), snapshot, leave_out=folder.parent, extra=made)
    now = fingerprints(run)
    return changes + [f"{name} was changed" for name, then in run._sources.items() if now.get(name) != then]
