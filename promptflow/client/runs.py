"""`client.runs`: create, list, show, compare, delete runs."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from promptflow.client.details import details_frame, details_rows
from promptflow.client.follow import follow, summary
from promptflow.client.records import to_record, to_run
from promptflow.client.takein import run_of_folder
from promptflow.entities.run import CANCELED, COMPLETED, FAILED, INTERRUPTED, Run, run_name
from promptflow.exceptions import InvalidRunStatusError, RunArgumentError, UserErrorException
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from pandas import DataFrame

    from promptflow.storage.runs import RunStore

Rows = list[dict[str, Any]]

MAX_LIST = 50
MAX_DETAILS = 100


class RunOperations:
    """The runs of a workspace. Runs may be given by name or as `Run`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @cached_property
    def _store(self) -> RunStore:
        from promptflow.storage.runs import RunStore  # imports SQLAlchemy: only those who use runs pay for it

        return RunStore(self._workspace)

    def create_or_update(self, run: Run, *, stream: bool = False, progress: Any = None, **kwargs: Any) -> Run:
        """Submit a run and wait for its end. A name that is taken raises RunExistsError.

        ``progress`` is called with the BatchResult so far after each line; ``stream`` prints the log meanwhile.
        """
        from promptflow.batch.runlog import echoed
        from promptflow.client.run_events import announced
        from promptflow.client.submit import submit  # loads executor and batch engine

        if run.run is not None:
            run.run = self._completed(run.run)
        if run._resume_from is not None:
            run._resume_from = self.get(run._resume_from)
        with announced(self._workspace, run, progress) as noted, echoed(sys.stdout if stream else None):
            submit(self._workspace, self._store, run, noted)
        created = self.get(run.name)
        return self._told(created, True, sys.stdout) if stream else created

    def resume(
        self, name: str | Run, *, accept_changes: bool = False, progress: Any = None, stream: bool = False
    ) -> Run:
        """Go on with a run that was interrupted or failed, and wait for its end. Lines that have ended stand.

        Raises RunGoesOnError while a process works on it, and FlowChangedError where its flow or its data were changed
        since, unless ``accept_changes``.
        """
        return self._again(name, False, accept_changes, progress, stream)

    def retry(
        self, name: str | Run, *, accept_changes: bool = False, progress: Any = None, stream: bool = False
    ) -> Run:
        """Run the failed lines of a run again, and those that never ran. Otherwise as `resume`."""
        return self._again(name, True, accept_changes, progress, stream)

    def _again(self, name: str | Run, retry: bool, accept_changes: bool, progress: Any, stream: bool) -> Run:
        from promptflow.batch.runlog import echoed
        from promptflow.client.resume import resume  # loads executor and batch engine

        name = run_name(name)
        with echoed(sys.stdout if stream else None):
            resume(self._workspace, self._store, name, retry=retry, accept_changes=accept_changes, progress=progress)
        run = self.get(name)
        return self._told(run, True, sys.stdout) if stream else run

    def resume_from(self, source: str | Run, **changes: Any) -> Run:
        """A new run of the same things that runs only the lines which did not complete in the run ``source``."""
        old = to_run(self._store.get(run_name(source)), self._workspace)
        if old.status not in {COMPLETED, FAILED, CANCELED, INTERRUPTED}:
            raise UserErrorException(f"Referenced run {old.name} is not completed, got status {old.status}")
        options = {key: changes.pop(key) for key in ("stream", "progress") if key in changes}
        new = old.copy(resume_from=old, **{key: value for key, value in changes.items() if value is not None})
        return self.create_or_update(new, **options)

    def replay(
        self,
        name: str | Run,
        *,
        tape: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
        new_name: str | None = None,
        **changes: Any,
    ) -> Run:
        """A new run of the same things whose calls are answered from the tape that ``name`` recorded, or ``tape``.

        ``overrides``: ``{"nodes[ask].inputs.temperature": 0}``. The network is blocked meanwhile; what the tape does
        not hold fails its line, and is in `replay_misses` of the new run.
        """
        from promptflow.client.taping import replayed  # for this verb only

        old = to_run(self._store.get(run_name(name)), self._workspace)
        options = {key: changes.pop(key) for key in ("stream", "progress") if key in changes}
        changed = replayed(old, Path(tape) if tape else None, overrides or {})
        changed |= {key: value for key, value in {"name": new_name, **changes}.items() if value is not None}
        return self.create_or_update(old.copy(**changed), **options)

    def replay_misses(self, name: str | Run) -> Rows:
        """What a replay asked for that its tape does not hold: ``message``, ``location`` and ``hint`` of each."""
        from promptflow.client.taping import read_misses  # as in replay

        return read_misses(self.get(name).folder.path)

    def export_tape(self, name: str | Run, output: str | Path) -> int:
        """Copy the tape of a run to a file, less what a replay would not use; how many calls it holds."""
        from promptflow.client.taping import export_tape  # as in replay

        return export_tape(self.get(name), Path(output))

    def import_folder(self, source: str | Path, *, name: str | None = None, **changes: Any) -> Run:
        """Take in the folder of a run that was made elsewhere; it stays where it is.

        ``changes``: display_name, description, tags. Raises RunExistsError when the name is taken.
        """
        run = run_of_folder(Path(source), name, **changes)
        self._store.add(to_record(run, self._workspace))
        return self.get(run.name)

    def list(
        self,
        max_results: int | None = MAX_LIST,
        *,
        list_view_type: Any = None,
        archived_only: bool = False,
        include_archived: bool = False,
    ) -> list[Run]:
        """The newest runs first."""
        view = str(getattr(list_view_type, "value", list_view_type) or "")
        archived_only = archived_only or view == "ArchivedOnly"
        include_archived = include_archived or view == "All"
        wanted = True if archived_only else None if include_archived else False
        return [to_run(record) for record in self._store.list(max_results, archived=wanted)]

    def get(self, name: str | Run) -> Run:
        """Raises RunNotFoundError."""
        return to_run(self._store.get(run_name(name)))

    def find(self, name: str) -> Run:
        """A run by name, by the unique beginning of a name, or as ``@latest``, ``@latest~1``…"""
        if name.startswith("@latest"):
            back = name.removeprefix("@latest").removeprefix("~") or "0"
            runs = self._store.list(int(back) + 1 if back.isdigit() else 1, archived=None)
            if back.isdigit() and len(runs) > int(back):
                return to_run(runs[int(back)])
            return self.get(name)
        found = self._store.list(2, archived=None, prefix=name)
        if len(found) == 1:
            return to_run(found[0])
        return self.get(name)

    def update(
        self,
        name: str | Run,
        display_name: str | None = None,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> Run:
        """Change what describes a run; other fields are ignored."""
        given: dict[str, Any] = {"display_name": display_name, "description": description, "tags": tags}
        record = self._store.get(run_name(name))
        self._store.save(replace(record, **{key: value for key, value in given.items() if value is not None}))
        return self.get(name)

    def archive(self, name: str | Run) -> Run:
        """Hide a run from lists."""
        return self._set_archived(name, True)

    def restore(self, name: str | Run) -> Run:
        return self._set_archived(name, False)

    def delete(self, name: str | Run) -> None:
        """Delete a run with its folder, for good."""
        run = self.get(name)
        if run.folder.exists():
            run.folder.delete()
        self._store.delete(run.name)

    def get_details(self, name: str | Run, max_results: int = MAX_DETAILS, all_results: bool = False) -> DataFrame:
        """Inputs and outputs as a DataFrame (needs pandas)."""
        return details_frame(self.get(name).folder, None if all_results else _positive(max_results))

    def details_rows(self, name: str | Run, max_results: int = MAX_DETAILS, all_results: bool = False) -> Rows:
        """Inputs and outputs, one dictionary per line, values as they were."""
        return details_rows(self.get(name).folder, None if all_results else _positive(max_results))

    def get_metrics(self, name: str | Run) -> dict[str, Any]:
        """What the aggregation logged. Raises InvalidRunStatusError when the run is not completed."""
        run = self.get(name)
        run.check_completed()
        return run.folder.metrics()

    def stream(self, name: str | Run, raise_on_error: bool = True, file: TextIO | None = None) -> Run:
        """Print a run's log as it grows, then a summary. A run that failed, was canceled or whose process died raises
        InvalidRunStatusError."""
        file = file or sys.stdout
        return self._told(follow(lambda: self.get(name), file), raise_on_error, file)

    def _told(self, run: Run, raise_on_error: bool, file: TextIO) -> Run:
        """Print what became of a run whose log has been printed."""
        file.write(summary(run))
        if run.status == COMPLETED:
            return run
        message = "Run is canceled."
        if run.status == FAILED:
            message = run.folder.error().get("message", "Run fails with unknown error.")
        elif run.status != CANCELED:
            message = f"The process of run {run.name} ended before the run did."
        if raise_on_error:
            raise InvalidRunStatusError(message)
        file.write(f"{message}\n")
        return run

    def export(self, name: str | Run, output: str | Path, format: str | None = None) -> int:
        """Write the rows of a run to a path or url as csv, jsonl or parquet; how many they are."""
        from promptflow.batch.export import export  # for this verb only

        return export(self.get(name).folder, str(output), format)

    def visualize(self, runs: Run | str | Sequence[Run | str], html_path: str | Path | None = None) -> Path:
        """Write a page that compares runs, and open it in a browser unless ``html_path`` says where to write it."""
        from promptflow.client.visualize import render_page  # reads the page's files

        if isinstance(runs, str | Run):
            runs = [runs]
        found = [self.get(run) for run in runs]
        for run in found:
            run.check_completed()
        path = Path(html_path) if html_path else found[0].folder.path / "visualize.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_page(found), encoding="utf-8")
        if html_path is None:
            webbrowser.open(path.resolve().as_uri())
        return path

    def _completed(self, run: Run | str) -> Run:
        """The run that another one is made on; it must be completed."""
        found = self.get(run)
        if found.status != COMPLETED:
            raise UserErrorException(f"Referenced run {found.name} is not completed, got status {found.status}")
        return found

    def _set_archived(self, name: str | Run, archived: bool) -> Run:
        self._store.save(replace(self._store.get(run_name(name)), archived=archived))
        return self.get(name)


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise RunArgumentError(f"'max_results' must be a positive integer, got {value!r}")
    return value
