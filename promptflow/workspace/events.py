"""The event log: what happened, in order, for ever."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promptflow.workspace.clock import now_text
from promptflow.workspace.db import Database
from promptflow.workspace.quick import QuickRows


@dataclass(frozen=True)
class Event:
    """One thing that happened to ``subject``, such as ``run.completed`` to a run's name."""

    id: int
    time: str
    kind: str
    subject: str
    payload: Any


class Events:
    """Append-only; ids grow in the order in which events become visible."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def append(self, kind: str, subject: str, payload: Any = None) -> Event:
        """Add an event; part of the transaction around it, if there is one."""
        values = {"time": now_text(), "kind": kind, "subject": subject, "payload": {} if payload is None else payload}
        quick = QuickRows(None if self.db.in_write else self.db.sqlite_file).append("events", values)
        if quick is not None:
            return Event(id=quick, **values)
        from sqlalchemy import insert  # where the quick way does not lead: 115 ms that a batch run need not pay

        from promptflow.workspace.tables import events

        # Ids are given out at insertion and seen at commit: without the lock, a reader could step over a late one.
        with self.db.write(lock="events") as connection:
            key = connection.execute(insert(events).values(**values)).inserted_primary_key
        return Event(id=int(key[0]) if key else 0, **values)

    def list(
        self, *, after: int = 0, kind: str | None = None, subject: str | None = None, limit: int | None = None
    ) -> list[Event]:
        """Events with an id above ``after``, oldest first. ``kind="run."`` stands for all kinds that begin so."""
        from sqlalchemy import select

        from promptflow.workspace.tables import events

        statement = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if kind is not None:
            prefix = events.c.kind.startswith(kind, autoescape=True)
            statement = statement.where(prefix if kind.endswith(".") else events.c.kind == kind)
        if subject is not None:
            statement = statement.where(events.c.subject == subject)
        with self.db.read() as connection:
            return [Event(**row) for row in connection.execute(statement).mappings()]

    def follow(self, *, after: int = 0, kind: str | None = None, poll_seconds: float = 0.5) -> Iterator[Event]:
        """Events as they come, without end; asks the database again and again."""
        while True:
            found = self.list(after=after, kind=kind, limit=1000)
            yield from found
            if found:
                after = found[-1].id
            else:
                time.sleep(poll_seconds)
