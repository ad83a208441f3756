"""`Run` objects <-> rows of the table of runs."""

from __future__ import annotations

import json
from typing import Any

from promptflow.entities.run import INTERRUPTED, RUNNING, Run, run_name
from promptflow.storage.record import RunRecord
from promptflow.storage.runlock import is_held
from promptflow.workspace import Workspace
from promptflow.workspace.urls import absolute

_COMPUTED = ("flow_path", "output_path", "run", "node_variant", "resume_from", "column_mapping")


def to_record(run: Run, workspace: Workspace) -> RunRecord:
    """What to keep of a run. Its environment variables may hold secrets: they are encrypted."""
    assert run._output_path is not None
    details: dict[str, Any] = {
        "kind": run._kind,
        "flow_name": run._flow_name,
        "variant": run.variant,
        "column_mapping": run.column_mapping,
        "resume_from": run_name(run._resume_from) if run._resume_from else None,
        "connections": _by_name(run.connections),
        "entry": run._entry,
        "options": run._options,
        "overrides": run._overrides,
        "replay": run._replay,
        "sources": run._sources,
    }
    if run.environment_variables:
        details["environment"] = workspace.secrets.encrypt(json.dumps(run.environment_variables))
    return RunRecord(
        name=run.name,
        type=run.type,
        status=run.status,
        created_on=run._created_on,
        output_path=run._output_path,
        start_time=run._start_time,
        end_time=run._end_time,
        display_name=run.display_name,
        description=run.description,
        tags=run.tags,
        flow=run.flow.as_posix() if run.flow is not None else None,
        data=absolute(run.data) if run.data else None,
        run=run_name(run.run) if run.run else None,
        archived=run._is_archived,
        properties={key: value for key, value in run.properties.items() if key not in _COMPUTED},
        details={key: value for key, value in details.items() if value},
    )


def _by_name(connections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Connections given as objects are kept by their names."""
    return {
        node: {key: getattr(value, "name", value) for key, value in values.items()}
        for node, values in connections.items()
    }


def to_run(record: RunRecord, workspace: Workspace | None = None) -> Run:
    """The run as users see it; with a workspace, its environment variables are decrypted too."""
    details = record.details
    encrypted = details.get("environment") if workspace is not None else None
    return Run(
        name=record.name,
        type=record.type,
        status=_status(record),
        flow=record.flow,
        data=record.data,
        run=record.run,
        variant=details.get("variant"),
        column_mapping=details.get("column_mapping"),
        connections=details.get("connections"),
        environment_variables=json.loads(workspace.secrets.decrypt(encrypted)) if encrypted and workspace else None,
        resume_from=details.get("resume_from"),
        entry=details.get("entry"),
        options=details.get("options"),
        overrides=details.get("overrides"),
        replay=details.get("replay"),
        sources=details.get("sources"),
        kind=details.get("kind", "dag"),
        flow_name=details.get("flow_name"),
        display_name=record.display_name,
        description=record.description,
        tags=record.tags,
        created_on=record.created_on,
        start_time=record.start_time,
        end_time=record.end_time,
        is_archived=record.archived,
        properties=record.properties,
        output_path=record.output_path,
    )


def _status(record: RunRecord) -> str:
    """A run counts as running while a process works on it."""
    return INTERRUPTED if record.status == RUNNING and not is_held(record.output_path) else record.status
