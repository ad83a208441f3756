"""The tables of a workspace (SQLAlchemy Core). A change here needs a revision in ``migrations/versions``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Index, Integer, MetaData, Table, Text, TypeDecorator, false

from promptflow.workspace import jsontext

metadata = MetaData()

# PostgreSQL sorts by the server's language unless told not to; SQLite by bytes. Names and times sort by bytes in both.
Name = Text().with_variant(Text(collation="C"), "postgresql")
Serial = BigInteger().with_variant(Integer, "sqlite")


class Json(TypeDecorator[Any]):
    """Any JSON value, as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else jsontext.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else jsontext.loads(value)


meta = Table("meta", metadata, Column("name", Name, primary_key=True), Column("value", Text, nullable=False))

connections = Table(
    "connections",
    metadata,
    Column("name", Name, primary_key=True),
    Column("type", Text, nullable=False),
    Column("config", Json, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("name", Name, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created", Name, nullable=False),
    Column("started", Name),
    Column("ended", Name),
    Column("display_name", Text),
    Column("description", Text),
    Column("flow", Text),
    Column("data", Text),
    Column("parent", Name),
    Column("record", Json, nullable=False),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Index("runs_created", "created"),
    Index("runs_parent", "parent"),
)

spans = Table(
    "spans",
    metadata,
    Column("trace_id", Name, primary_key=True),
    Column("span_id", Name, primary_key=True),
    Column("parent_id", Name),
    Column("name", Text, nullable=False),
    Column("kind", Text),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger),
    Column("status", Text),
    Column("collection", Name),
    Column("session", Name),
    Column("run", Name),
    Column("line_run_id", Name),
    Column("line_number", BigInteger),
    Column("attributes", Json, nullable=False),
    Column("events", Json, nullable=False),
    Index("spans_start", "start_ns"),
    Index("spans_collection", "collection", "start_ns"),
    Index("spans_run", "run", "line_number"),
    Index("spans_line_run", "line_run_id"),
)

events = Table(
    "events",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("time", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("subject", Name, nullable=False),
    Column("payload", Json, nullable=False),
    Index("events_kind", "kind", "id"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Name, primary_key=True),
    Column("value", Text, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("name", Name, primary_key=True),
    Column("digest", Name, nullable=False),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created", Name, nullable=False),
    Index("blobs_digest", "digest"),
)
