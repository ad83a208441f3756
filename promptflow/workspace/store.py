"""Rows of the workspace's tables by name: put, get, list, archive; and names as people abbreviate them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from promptflow.exceptions import StoreError
from promptflow.workspace.db import Database
from promptflow.workspace.quick import Missing, Query, QuickRows, decoded

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table

Row = dict[str, Any]
Rows = list[Row]
_LATEST = re.compile(r"@latest(?:~(\d+))?")


class Store:
    """Rows as dictionaries. Tables are named by text, so that callers need not import SQLAlchemy."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._rows = QuickRows(db.sqlite_file)

    @property
    def _quick(self) -> QuickRows:
        """The quick way to single rows; none inside a transaction, which has them for itself."""
        return QuickRows(None) if self.db.in_write else self._rows

    def get(self, table: str, name: str) -> Row | None:
        """The row called ``name``, or None."""
        row = self._quick.get(table, name)
        if row is not None:
            return None if row is Missing else row  # type: ignore[return-value]
        rows = self.list(table, where={"name": name}, limit=1)
        return rows[0] if rows else None

    def list(
        self,
        table: str,
        *,
        where: Mapping[str, Any] | None = None,
        order: str = "",
        limit: int | None = None,
        offset: int = 0,
        columns: Sequence[str] = (),
    ) -> list[Row]:
        """Rows that have the values of ``where`` (a list: one of them), by key; ``order="-created"``: newest first."""
        from sqlalchemy import select

        source = _table(table)
        chosen = [source.c[column] for column in columns] if columns else [source]
        statement = select(*chosen).where(*_conditions(source, where))
        keys: list[ColumnElement[Any]] = list(source.primary_key)
        if order:
            column = source.c[order.removeprefix("-")]
            keys.insert(0, column.desc() if order.startswith("-") else column.asc())
        statement = statement.order_by(*keys).offset(offset or None).limit(limit)
        with self.db.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    def select(self, table: str, query: str, **values: Any) -> Rows:
        """Rows of a query in SQL that SQLite and PostgreSQL both know, with values as ``:name``.

        Columns called as those of ``table``, one that is had without SQLAlchemy, are read as those.
        """
        rows = self._quick.select(table, query, values)
        if rows is not None:
            return rows
        from sqlalchemy import text

        with self.db.read() as connection:
            return [decoded(table, dict(row)) for row in connection.execute(text(query), values).mappings()]

    def select_all(self, queries: Sequence[Query]) -> Sequence[Rows]:
        """As :meth:`select`, for several queries on one connection; SQLite's rows are of one moment."""
        found = self._quick.select_all(queries)
        if found is not None:
            return found
        from sqlalchemy import text

        with self.db.read() as connection:
            return [
                [decoded(table, dict(row)) for row in connection.execute(text(query), dict(values)).mappings()]
                for table, query, values in queries
            ]

    def put(self, table: str, row: Mapping[str, Any], *, keep: Sequence[str] = ("created",)) -> None:
        """Insert the row, or change the one of the same key, except for its columns in ``keep``."""
        self.put_many(table, [row], keep=keep)

    def put_many(self, table: str, rows: Iterable[Mapping[str, Any]], *, keep: Sequence[str] = ("created",)) -> None:
        """The same for many rows, which must have the same columns, in one transaction."""
        values = [dict(row) for row in rows]
        if not values:
            return
        target = _table(table)
        key = [column.name for column in target.primary_key]
        statement = self._insert(target)
        changed = {name: statement.excluded[name] for name in values[0] if name not in {*key, *keep}}
        if changed:
            statement = statement.on_conflict_do_update(index_elements=key, set_=changed)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        with self.db.write() as connection:
            connection.execute(statement, values)

    def add(self, table: str, row: Mapping[str, Any]) -> bool:
        """Insert the row; False, and nothing done, if its key is taken."""
        added = self._quick.add(table, row)
        if added is not None:
            return added
        target = _table(table)
        with self.db.write() as connection:
            statement = self._insert(target).values(**row).on_conflict_do_nothing().returning(*target.primary_key)
            return connection.execute(statement).first() is not None

    def append(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows that cannot be there yet."""
        from sqlalchemy import insert

        values = [dict(row) for row in rows]
        if values:
            with self.db.write() as connection:
                connection.execute(insert(_table(table)), values)

    def update(self, table: str, name: str, /, **values: Any) -> bool:
        """Change columns of the row called ``name``; False if there is none."""
        changed = self._quick.update(table, name, values)
        if changed is not None:
            return changed
        from sqlalchemy import update

        target = _table(table)
        with self.db.write() as connection:
            return connection.execute(update(target).where(target.c.name == name).values(**values)).rowcount == 1

    def delete(self, table: str, name: str) -> bool:
        """Remove the row called ``name``; False if there is none."""
        return self.delete_where(table, {"name": name}) > 0

    def delete_where(self, table: str, where: Mapping[str, Any]) -> int:
        """Remove the rows that have these values; how many they were."""
        if not where:
            raise StoreError(f"Refusing to remove all rows of '{table}'.")
        from sqlalchemy import delete

        target = _table(table)
        with self.db.write() as connection:
            return connection.execute(delete(target).where(*_conditions(target, where))).rowcount

    def archive(self, table: str, name: str, archived: bool = True) -> bool:
        """Hide the row from lists, or show it again; False if there is none."""
        return self.update(table, name, archived=archived)

    def resolve(self, table: str, text: str, *, latest: str = "created") -> str:
        """The full name for a name, a unique beginning of one, ``@latest`` or ``@latest~2``; else a StoreError."""
        from sqlalchemy import select

        source = _table(table)
        match = _LATEST.fullmatch(text)
        if match:
            rows = self.list(table, order=f"-{latest}", limit=1, offset=int(match[1] or 0), columns=["name"])
            if not rows:
                raise StoreError(f"There is no {text} in '{table}': it holds fewer.")
            return str(rows[0]["name"])
        with self.db.read() as connection:
            if connection.execute(select(source.c.name).where(source.c.name == text)).first():
                return text
            near = source.c.name.startswith(text, autoescape=True)
            # SQLite's LIKE does not tell upper from lower case.
            found = connection.execute(select(source.c.name).where(near).order_by(source.c.name).limit(50)).scalars()
            names = [name for name in found if name.startswith(text)] if text else []
        if len(names) == 1:
            return str(names[0])
        if not names:
            raise StoreError(f"Nothing in '{table}' is called '{text}', or begins so.")
        some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise StoreError(f"'{text}' is the beginning of several names in '{table}'.", hint=f"one of: {some}")

    def _insert(self, table: Table) -> Any:
        """An INSERT that knows ON CONFLICT; PostgreSQL's own takes 15 ms to import, so only who uses it pays."""
        if self.db.is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)


def _table(name: str) -> Table:
    from promptflow.workspace.tables import metadata  # with SQLAlchemy

    try:
        return metadata.tables[name]
    except KeyError:
        raise StoreError(f"The workspace has no table '{name}'.") from None


def _conditions(table: Table, where: Mapping[str, Any] | None) -> list[ColumnElement[bool]]:
    return [_condition(table, name, value) for name, value in (where or {}).items()]


def _condition(table: Table, name: str, value: Any) -> ColumnElement[bool]:
    if name not in table.c:
        raise StoreError(f"The table '{table.name}' has no column '{name}'.")
    if value is None:
        return table.c[name].is_(None)
    if isinstance(value, list | tuple | set | frozenset):
        return table.c[name].in_(list(value))
    return table.c[name].__eq__(value)
