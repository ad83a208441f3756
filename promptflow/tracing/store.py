"""The span table: fed from the spool whenever somebody reads, then listed, shown, deleted and exported."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, delete, func, or_, select, type_coerce

from promptflow.exceptions import StoreError
from promptflow.tracing import otlp, spool
from promptflow.tracing.payload import loads
from promptflow.tracing.records import SpanRecord, TraceSummary, as_row, record, summary, table_row
from promptflow.workspace import Workspace, jsontext
from promptflow.workspace.tables import spans as table

Row = dict[str, Any]
Spans = list[SpanRecord]
Summaries = list[TraceSummary]
Starts = list[tuple[str, int]]

CLAIMED = ".claimed"
_BATCH = 1000
_FEW = 20
_COLUMNS = tuple(column.name for column in table.columns)


class TraceStore:
    """The traces of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def list(
        self,
        *,
        run: str | Sequence[str] | None = None,
        collection: str | None = None,
        session: str | None = None,
        line_run_id: str | Sequence[str] | None = None,
        trace_ids: Sequence[str] | None = None,
        started_before: datetime | str | None = None,
        started_after: datetime | str | None = None,
        limit: int | None = 100,
        offset: int = 0,
    ) -> Summaries:
        """Traces that have a span which fits all filters, newest first."""
        self.ingest()
        fits = _filters(run, collection, session, line_run_id, started_before, started_after)
        if trace_ids is not None:
            fits.append(table.c.trace_id.in_([*trace_ids]))
        chosen = (
            select(table.c.trace_id, func.min(table.c.start_ns).label("start"))
            .where(and_(True, *fits))
            .group_by(table.c.trace_id)
            .order_by(func.min(table.c.start_ns).desc(), table.c.trace_id)
            .limit(limit)
            .offset(offset or None)
        )
        return self._summaries(chosen)

    def evaluations(self, of: Sequence[TraceSummary]) -> Summaries:
        """Traces that began after those, and whose first span says that it refers to one (``referenced.line_run_id``,
        or ``referenced.batch_run_id`` and a line number), oldest first. There may be some that refer to others."""
        self.ingest()
        text = type_coerce(table.c.attributes, Text)
        fits = [table.c.parent_id == "", table.c.start_ns >= min((one.start_ns for one in of), default=0)]
        fits.append(text.contains('"referenced.', autoescape=True))
        if len(of) <= _FEW:
            names = {f'{one.trace_id}"' for one in of}  # with 0x before it, or without
            names |= {jsontext.dumps(one.root.line_run_id) for one in of if one.root.line_run_id}
            numbers = {one.root.line_number for one in of} - {None}
            named = [text.contains(name, autoescape=True) for name in sorted(names)]
            fits.append(or_(table.c.line_number.in_(numbers), *named))
        return self._summaries(select(table.c.trace_id).where(*fits).order_by(table.c.start_ns, table.c.trace_id))

    def collections(self, limit: int) -> Starts:
        """The collections and when their newest trace began, in nanoseconds; newest first."""
        self.ingest()
        newest = func.max(table.c.start_ns)
        roots = select(table.c.collection, newest).where(table.c.parent_id == "", table.c.collection.is_not(None))
        chosen = roots.group_by(table.c.collection).order_by(newest.desc(), table.c.collection).limit(limit)
        with self._workspace.db.read() as connection:
            return [(str(name), int(start)) for name, start in connection.execute(chosen)]

    def _summaries(self, chosen: Select[Any]) -> Summaries:
        """Of the traces whose ids a statement gives first, in its order."""
        with self._workspace.db.read() as connection:
            ids = [row.trace_id for row in connection.execute(chosen)]
            rows = [dict(row) for part in _parts(ids) for row in connection.execute(_roots(part)).mappings()]
        found = {row["trace_id"]: summary(row) for row in rows}
        return [found[trace_id] for trace_id in ids]

    def show(self, trace_id: str) -> Spans:
        """The spans of a trace, by start. ``trace_id`` may be its beginning, a line's run id or ``@latest``."""
        self.ingest()
        full = self._find(trace_id)
        statement = select(table).where(table.c.trace_id == full).order_by(table.c.start_ns, table.c.span_id)
        with self._workspace.db.read() as connection:
            return [record(dict(row)) for row in connection.execute(statement).mappings()]

    def delete(
        self,
        *,
        trace_ids: Iterable[str] = (),
        run: str | None = None,
        collection: str | None = None,
        session: str | None = None,
        started_before: datetime | str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete the traces that have a span which fits all filters; how many spans they had."""
        self.ingest()
        ids = list(trace_ids)
        fits = _filters(run, collection, session, None, started_before, None)
        if ids:
            fits.append(table.c.trace_id.in_([self._find(one) for one in ids]))
        if not fits:
            raise StoreError("Refusing to delete all traces.", hint="give a run, a collection or a time")
        chosen = table.c.trace_id.in_(select(table.c.trace_id).where(and_(*fits)))
        if dry_run:
            with self._workspace.db.read() as connection:
                return int(connection.execute(select(func.count()).select_from(table).where(chosen)).scalar_one())
        with self._workspace.db.write() as connection:
            return connection.execute(delete(table).where(chosen)).rowcount

    def export(self, trace_ids: Iterable[str] | None = None, **filters: Any) -> Iterator[dict[str, Any]]:
        """Each trace as an OTLP JSON request; those of ``trace_ids``, else those that ``list(**filters)`` gives."""
        ids = (
            list(trace_ids) if trace_ids is not None else [t.trace_id for t in self.list(**{"limit": None, **filters})]
        )
        for trace_id in ids:
            yield otlp.encode([as_row(span) for span in self.show(trace_id)])

    def add(self, rows: Iterable[Mapping[str, Any]], resource: Mapping[str, Any] | None = None) -> int:
        """Keep spans; those that are there already stay as they are."""
        values = [table_row(row, resource or {}) for row in rows]
        for start in range(0, len(values), _BATCH):
            self._workspace.store.put_many("spans", values[start : start + _BATCH], keep=_COLUMNS)
        return len(values)

    def ingest(self) -> int:
        """Move what processes have spooled into the table; how many spans that was."""
        spool.flush()
        folder = self._workspace.traces_folder
        if not folder.is_dir():
            return 0
        for file in folder.glob("*.jsonl"):
            try:
                file.rename(file.with_name(file.name + CLAIMED))
            except FileNotFoundError:
                pass  # another reader was faster
        return sum(self._take(file) for file in sorted(folder.glob(f"*.jsonl{CLAIMED}")))

    def _take(self, file: Path) -> int:
        """Read a claimed file, then remove it. One that a dead reader left behind is simply read again."""
        try:
            handle = file.open("rb")
        except FileNotFoundError:
            return 0
        with handle:
            try:
                # The writer holds the lock while it writes; a reader keeps it until the file is gone.
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:
                return 0
            if not file.exists():
                return 0
            taken = 0
            batch: list[Row] = []
            for line in handle:
                batch += _spooled(line)
                if len(batch) >= _BATCH:
                    taken += self.add(batch)
                    batch = []
            taken += self.add(batch)
            os.unlink(file)
        return taken

    def _find(self, text: str) -> str:
        newest = select(table.c.trace_id).order_by(table.c.start_ns.desc()).limit(1)
        with self._workspace.db.read() as connection:
            if text == "@latest":
                found = list(connection.execute(newest).scalars())
            else:
                found = list(
                    connection.execute(
                        select(table.c.trace_id)
                        .where(
                            (table.c.line_run_id == text)
                            | table.c.trace_id.startswith(text.removeprefix("0x").lower(), autoescape=True)
                        )
                        .distinct()
                        .limit(2)
                    ).scalars()
                )
        if len(found) == 1:
            return str(found[0])
        problem = "is the beginning of several traces" if found else "is no trace of this workspace"
        raise StoreError(f"'{text}' {problem}.", hint="`pf trace list` shows their ids")


def _spooled(line: bytes) -> list[Row]:
    if not line.endswith(b"\n"):
        return []  # the writer died in the middle of it
    try:
        data = loads(line)
        return [table_row(row, data["resource"]) for row in data["spans"]]
    except (ValueError, KeyError, TypeError):
        return []


def _roots(trace_ids: Sequence[str]) -> Select[Any]:
    """The first span of each trace (one without a parent before all others), with figures of the whole trace."""
    whole = table.c.trace_id
    ranked = (
        select(
            table.c.trace_id,
            table.c.span_id,
            func.row_number()
            .over(partition_by=whole, order_by=(table.c.parent_id != "", table.c.start_ns, table.c.span_id))
            .label("place"),
            func.count().over(partition_by=whole).label("spans"),
            func.min(table.c.start_ns).over(partition_by=whole).label("first_ns"),
            func.max(table.c.end_ns).over(partition_by=whole).label("last_ns"),
        )
        .where(whole.in_(trace_ids))
        .subquery()
    )
    same = and_(table.c.trace_id == ranked.c.trace_id, table.c.span_id == ranked.c.span_id)
    figures = (ranked.c.spans, ranked.c.first_ns, ranked.c.last_ns)
    return select(table, *figures).join(ranked, same).where(ranked.c.place == 1)


def _filters(
    run: str | Sequence[str] | None,
    collection: str | None,
    session: str | None,
    line_run_id: str | Sequence[str] | None,
    before: datetime | str | None,
    after: datetime | str | None,
) -> list[ColumnElement[bool]]:
    fits: list[ColumnElement[bool]] = []
    for column, values in ((table.c.run, run), (table.c.line_run_id, line_run_id)):
        if values is not None:
            fits.append(column.in_([values] if isinstance(values, str) else list(values)))
    for column, value in ((table.c.collection, collection), (table.c.session, session)):
        if value is not None:
            fits.append(column == value)
    if before is not None:
        fits.append(table.c.start_ns < _nanoseconds(before))
    if after is not None:
        fits.append(table.c.start_ns >= _nanoseconds(after))
    return fits


def _nanoseconds(when: datetime | str) -> int:
    try:
        time = datetime.fromisoformat(when) if isinstance(when, str) else when
    except ValueError as error:
        raise StoreError(f"'{when}' is not a time.", hint="for example 2026-01-31T12:00:00") from error
    return int(time.timestamp() * 1_000_000) * 1000


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), 500):
        yield ids[start : start + 500]
