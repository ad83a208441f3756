"""Runs by their metrics and tags: thousands of them filtered and ordered by an index in the workspace.

The metrics of a run are taken into the index at the first search after it has ended: the log of events says which have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.run_filter import FIELD, METRIC, TAG, Condition, Order, parse_filter, parse_order
from promptflow.storage.folder import RunFolder
from promptflow.workspace import Workspace

_CURSOR = "run_values.event"
_LOCK = "run_values"
_ENDED = "run.ended"
_PART = 500  # names in one query
_COLUMNS = "r.name, r.status, r.kind, r.created, r.flow, r.data, r.display_name, r.record"


@dataclass(frozen=True)
class FoundRun:
    """A run and what it measured."""

    name: str
    status: str
    kind: str
    created: str
    flow: str | None = None
    data: str | None = None
    display_name: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class RunSearch:
    """The runs of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._store = workspace.store

    def find(
        self, filter: str = "", *, order: str = "-created", limit: int = 100, archived: bool | None = False
    ) -> list[FoundRun]:
        """The first runs in that order for which all conditions hold (:mod:`catalog.run_filter` has the grammar).

        Runs that lack what they are ordered by come last.
        """
        query = _Query(self.workspace.db.is_sqlite, parse_filter(filter), archived)
        by = parse_order(order)
        self.refresh()
        names: list[str] = []
        for text in query.ordered(by):
            if len(names) < limit:
                rows = self._store.select("runs", f"{text} LIMIT :limit", **query.values, limit=limit - len(names))
                names += [row["name"] for row in rows]
        return self._found(names)

    def refresh(self) -> int:
        """Take in the metrics of runs that have ended since; how many they were."""
        cursor = self._select("SELECT value FROM meta WHERE name = :name", name=_CURSOR)
        after = int(cursor[0]["value"]) if cursor else 0
        ended = self._select(
            "SELECT id, subject FROM events WHERE kind = :kind AND id > :after ORDER BY id", kind=_ENDED, after=after
        )
        names = {event["subject"] for event in ended}
        if not cursor:  # the first time: whatever there is
            names |= {row["name"] for row in self._select("SELECT name FROM runs")}
        elif not ended:
            return 0
        values = [value for name in sorted(names) for value in self._values(name)]
        with self.workspace.db.write(lock=_LOCK):
            for part in _parts(sorted(names)):
                self._store.delete_where("run_values", {"run": part})
            self._store.put_many("run_values", values)
            last = str(ended[-1]["id"] if ended else after)
            self._store.put("meta", {"name": _CURSOR, "value": last})
        return len(names)

    def _values(self, name: str) -> Iterator[dict[str, Any]]:
        row = self._store.get("runs", name)
        if row is None:  # deleted since
            return
        measured = (row["record"].get("properties") or {}).get("system_metrics") or {}
        metrics = {**measured, **RunFolder(Path(row["record"]["output_path"])).metrics()}
        for key, value in metrics.items():
            if isinstance(value, int | float) and math.isfinite(value):
                yield {"run": name, "kind": METRIC, "name": key, "number": float(value), "text": None}

    def _found(self, names: Sequence[str]) -> list[FoundRun]:
        """The runs of these names. Read after they were put in order: SQLite carries all that is asked for through its
        sorting, and the records are most of it."""
        rows: dict[str, dict[str, Any]] = {}
        metrics: dict[str, dict[str, float]] = {name: {} for name in names}
        for part in _parts(names):
            marks = {f"r{number}": name for number, name in enumerate(part)}
            among = f"IN (:{', :'.join(marks)})"
            query = f"SELECT {_COLUMNS} FROM runs r WHERE r.name {among}"
            rows |= {row["name"]: row for row in self._store.select("runs", query, **marks)}
            query = f"SELECT run, name, number FROM run_values WHERE kind = :kind AND run {among}"
            for value in self._select(query, kind=METRIC, **marks):
                metrics[value["run"]][value["name"]] = value["number"]
        return [_run(rows[name], metrics[name]) for name in names if name in rows]

    def _select(self, query: str, **values: Any) -> list[dict[str, Any]]:
        return self._store.select("run_values", query, **values)


class _Query:
    """SQL for conditions. Whatever a user wrote is a value of it, never a part of its text."""

    def __init__(self, sqlite: bool, conditions: Sequence[Condition], archived: bool | None) -> None:
        self.values: dict[str, Any] = {}
        self._sqlite = sqlite
        self._measured: list[str] = []  # conditions on the metrics of {run}
        self._where: list[str] = []
        if archived is not None:
            self._where.append("r.archived = :archived")
            self.values["archived"] = archived
        for number, condition in enumerate(conditions):
            self._add(condition, str(number))

    def ordered(self, by: Order) -> Iterator[str]:
        """The queries whose rows, one after another, are all runs in this order."""
        way = "DESC" if by.descending else "ASC"
        if by.kind != METRIC:
            column = f"r.{by.name}" if by.kind == FIELD else self._tag(by.name, "order")
            yield self._text("runs r", "r.name", [], f"{column} {way} NULLS LAST, r.created DESC, r.name")
            return
        # First along the index of values: SQLite keeps to the order of tables in a CROSS JOIN, and stops at the limit.
        # Then the runs that have no such metric.
        self.values |= {"order_kind": METRIC, "order_name": by.name}
        has = "o.kind = :order_kind AND o.name = :order_name"
        source = "run_values o CROSS JOIN runs r"
        yield self._text(source, "o.run", [has, "r.name = o.run"], f"o.number {way}, r.created DESC, r.name")
        without = f"NOT EXISTS (SELECT 1 FROM run_values o WHERE o.run = r.name AND {has})"
        yield self._text("runs r", "r.name", [without], "r.created DESC, r.name")

    def _text(self, source: str, run: str, where: Sequence[str], order: str) -> str:
        measured = [text.replace("{run}", run) for text in self._measured]
        conditions = " AND ".join([*measured, *where, *self._where]) or "1 = 1"
        return f"SELECT r.name FROM {source} WHERE {conditions} ORDER BY {order}"

    def _add(self, condition: Condition, mark: str) -> None:
        self.values[f"v{mark}"] = condition.value
        test = f"{condition.operator} :v{mark}"
        if condition.kind == METRIC:
            self.values |= {f"k{mark}": METRIC, f"n{mark}": condition.name}
            there = f"c.kind = :k{mark} AND c.name = :n{mark} AND c.number {test}"
            self._measured.append(f"{{run}} IN (SELECT c.run FROM run_values c WHERE {there})")
        elif condition.kind == TAG:
            self._where.append(f"{self._tag(condition.name, mark)} {test}")
        else:
            self._where.append(f"r.{condition.name} {test}")

    def _tag(self, name: str, mark: str) -> str:
        if self._sqlite:
            self.values[f"t{mark}"] = f'$.tags."{name}"'
            return f"json_extract(r.record, :t{mark})"
        self.values[f"t{mark}"] = name
        return f"(CAST(r.record AS json) -> 'tags' ->> :t{mark})"


def _run(row: Mapping[str, Any], metrics: dict[str, float]) -> FoundRun:
    fields = {key: row[key] for key in ("name", "status", "kind", "created", "flow", "data", "display_name")}
    return FoundRun(**fields, tags=row["record"].get("tags") or {}, metrics=metrics)


def _parts(names: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _PART):
        yield list(names[start : start + _PART])
