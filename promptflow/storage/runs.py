"""The table of runs: one row per run, whose results are in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptflow.exceptions import RunExistsError, RunNotFoundError
from promptflow.storage.record import RunRecord
from promptflow.workspace import Workspace

_TABLE = "runs"
_IN_RECORD = ("tags", "properties", "details")


class RunStore:
    """Reads and writes the table of runs of one workspace. SQLAlchemy is imported when the first row is asked for."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def add(self, record: RunRecord) -> None:
        """Keep a new run. Raises RunExistsError when there is one of its name."""
        if not self._workspace.store.add(_TABLE, _row(record)):
            raise taken(record.name)

    def save(self, record: RunRecord) -> None:
        """Replace what is kept of a run. Raises RunNotFoundError."""
        values = _row(record)
        if not self._workspace.store.update(_TABLE, values.pop("name"), **values):
            raise _not_found(record.name)

    def get(self, name: str) -> RunRecord:
        """Raises RunNotFoundError."""
        row = self._workspace.store.get(_TABLE, name)
        if row is None:
            raise _not_found(name)
        return _record(row)

    def list(self, limit: int | None = 50, *, archived: bool | None = False, prefix: str = "") -> list[RunRecord]:
        """The newest runs first. ``archived``: only those, only others, or (None) both."""
        from sqlalchemy import select

        from promptflow.workspace.tables import runs

        query = select(runs).order_by(runs.c.created.desc(), runs.c.name)
        if archived is not None:
            query = query.where(runs.c.archived == archived)
        if prefix:
            query = query.where(runs.c.name.startswith(prefix, autoescape=True))
        if limit is not None:
            query = query.limit(limit)
        with self._workspace.db.read() as db:
            return [_record(dict(row)) for row in db.execute(query).mappings()]

    def delete(self, name: str) -> None:
        """Raises RunNotFoundError."""
        if not self._workspace.store.delete(_TABLE, name):
            raise _not_found(name)


def taken(name: str) -> RunExistsError:
    """The error for a name that another run has."""
    return RunExistsError(f"Run {name!r} already exists.", hint=f"give another name, or: pf run delete -n {name}")


def _not_found(name: str) -> RunNotFoundError:
    return RunNotFoundError(f"Run name {name!r} cannot be found.", hint="pf run list shows the runs there are")


def _row(record: RunRecord) -> dict[str, Any]:
    rest = {name: getattr(record, name) for name in _IN_RECORD}
    return {
        "name": record.name,
        "kind": record.type,
        "status": record.status,
        "created": _text(record.created_on),
        "started": _text(record.start_time),
        "ended": _text(record.end_time),
        "display_name": record.display_name,
        "description": record.description,
        "flow": record.flow,
        "data": record.data,
        "parent": record.run,
        "archived": record.archived,
        "record": {**rest, "output_path": record.output_path.as_posix()},
    }


def _record(row: Mapping[str, Any]) -> RunRecord:
    rest = row["record"]
    created = _time(row["created"])
    assert created is not None
    return RunRecord(
        name=row["name"],
        type=row["kind"],
        status=row["status"],
        created_on=created,
        output_path=Path(rest["output_path"]),
        start_time=_time(row["started"]),
        end_time=_time(row["ended"]),
        display_name=row["display_name"],
        description=row["description"],
        flow=row["flow"],
        data=row["data"],
        run=row["parent"],
        archived=row["archived"],
        tags=rest.get("tags"),
        properties=rest.get("properties") or {},
        details=rest.get("details") or {},
    )


def _text(time: datetime | None) -> str | None:
    """UTC, so that texts sort as times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds") if time is not None else None


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone() if text else None
