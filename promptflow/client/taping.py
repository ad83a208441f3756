"""Runs and tapes: what a run records, and what answers one that replays another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptflow.batch.options import RunOptions
from promptflow.entities.run import Run
from promptflow.exceptions import OverrideError, TapeError, ValidationException
from promptflow.tape.current import current
from promptflow.workspace import Workspace
from promptflow.workspace.atomic import write_whole

SETTING = "record.http"

# The tape's own modules are imported by those who record or replay, and by nobody else.


@contextmanager
def taped(workspace: Workspace, run: Run) -> Iterator[None]:
    """Record the run's calls inside, or answer them from a tape, or neither: as the run says.

    ``begin_tape`` must follow once the run has its folder.
    """
    if run._replay is not None:
        from promptflow.tape.player import Player
        from promptflow.tape.use import replaying

        with replaying(Player(Path(run._replay), allow=workspace.database_url)):
            yield
    elif run._options.get("record") or run._options.get("record_http"):
        from promptflow.tape.recorder import Recorder
        from promptflow.tape.scrub import secret_variables
        from promptflow.tape.use import recording

        given = {name: str(value) for name, value in run.environment_variables.items()}
        http = declared_http(workspace, RunOptions.of(run._options).record_http)
        with recording(Recorder(http, secret_variables(given), run=run.name, flow=run._flow_name)):
            yield
    else:
        yield


def begin_tape(run: Run) -> None:
    """Give the tape its file in the run's folder."""
    tape = current()
    if tape is not None and run._output_path is not None:
        tape.begin_in(run._output_path)


def taped_options(run: Run, options: RunOptions) -> RunOptions:
    """The options of a run with a tape: every node calls, whatever the cache holds. Raises ValidationException."""
    if run._overrides and run._kind != "dag":
        raise OverrideError(f"{next(iter(run._overrides))}: a flow of this kind has no nodes.")
    if run._replay is not None:
        return replace(options, cache="off")
    if not (options.record or options.record_http):
        return options
    if run._options.get("cache") == "read":
        raise ValidationException("cache: read and record do not go together: a tape needs every call.")
    if options.compute not in (None, "ray"):
        raise ValidationException("compute and record do not go together: a tape is made on this machine.")
    return replace(options, record=True, cache="refresh")


def declared_http(workspace: Workspace, given: Sequence[str]) -> tuple[str, ...]:
    """URL patterns of calls to record besides those to models: given ones, and those of setting ``record.http``."""
    found = workspace.settings.get(SETTING) or ()
    return (*given, *(found.split() if isinstance(found, str) else map(str, found)))


def replayed(run: Run, tape: Path | None, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What a replay of ``run`` changes, as arguments of `Run.copy`. Raises TapeError where there is no tape."""
    path = tape or tape_of(run)
    if not path.is_file():
        raise TapeError(f"There is no tape {path}.", hint="a run that was recorded has one: pf run export-tape")
    left_out = ("record", "record_http", "export", "compute")
    options = {key: value for key, value in run._options.items() if key not in left_out}
    changes: dict[str, Any] = {
        "replay": str(path.resolve()),
        "overrides": {**run._overrides, **overrides},
        "options": options,
        "properties": {"replay_of": run.name},
    }
    if run.data and ("://" in run.data or not Path(run.data).exists()):  # it is not here: what the flow was given is
        changes |= _own_inputs(run)
    return changes


def tape_of(run: Run) -> Path:
    """The tape that a run recorded. Raises TapeError."""
    from promptflow.tape.file import NAME

    path = run.folder.path / NAME
    if not path.is_file():
        raise TapeError(f"Run {run.name!r} has no tape.", hint="record one: pf run create --record")
    return path


def export_tape(run: Run, output: Path) -> int:
    """Write the calls that count, and the connections, to ``output``; how many calls they are."""
    from promptflow.tape.file import to_line
    from promptflow.tape.player import used_records

    records = used_records(tape_of(run))
    write_whole(output, b"".join(map(to_line, records)))
    return sum("answer" in record for record in records)


def _own_inputs(run: Run) -> dict[str, Any]:
    first = next(run.folder.inputs(), None)
    if first is None:
        return {}
    names = [name for name in first if name != "line_number"]
    inputs = run.folder.path / "inputs.jsonl"
    return {"data": str(inputs), "column_mapping": {name: f"${{data.{name}}}" for name in names}}


def read_misses(folder: Path) -> list[dict[str, str]]:
    """What a replay asked for that its tape does not hold: message, location and hint of each."""
    from promptflow.tape.player import MISSES

    try:
        lines = (folder / MISSES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]
