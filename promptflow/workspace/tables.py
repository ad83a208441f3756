"""The tables of a workspace (SQLAlchemy Core). A change here needs a revision in ``migrations/versions``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
)

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

# Versions of models, and of whatever else is kept by name and version; the content is in the blobs.
assets = Table(
    "assets",
    metadata,
    Column("kind", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("version", Name, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("digest", Name, nullable=False),
    Column("form", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("stage", Name),
    Column("description", Text),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
    Column("record", Json, nullable=False),
    Index("assets_number", "kind", "name", "number"),
    Index("assets_digest", "digest"),
)

# ``made``: how many versions there ever were; ``highest``: the highest whole number among their names.
asset_names = Table(
    "asset_names",
    metadata,
    Column("kind", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("made", BigInteger, nullable=False),
    Column("highest", BigInteger, nullable=False),
    Column("archived", Boolean, nullable=False, server_default=false()),
)

asset_aliases = Table(
    "asset_aliases",
    metadata,
    Column("kind", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("alias", Name, primary_key=True),
    Column("version", Name, nullable=False),
    Column("updated", Name, nullable=False),
)

# Which blobs a content is made of: what may go when the last version with it is deleted.
asset_blobs = Table(
    "asset_blobs",
    metadata,
    Column("content", Name, primary_key=True),
    Column("blob", Name, primary_key=True),
    Index("asset_blobs_blob", "blob"),
)

# What made what, for ever: things are written as "model:NAME:VERSION", "run:NAME", "data:…".
lineage = Table(
    "lineage",
    metadata,
    Column("made", Name, primary_key=True),
    Column("relation", Name, primary_key=True),
    Column("source", Name, primary_key=True),
    Column("created", Name, nullable=False),
    Index("lineage_source", "source"),
)

# Who uses which asset now, such as "endpoint:NAME": it is not deleted before they let go of it.
uses = Table(
    "uses",
    metadata,
    Column("asset", Name, primary_key=True),
    Column("used_by", Name, primary_key=True),
    Column("created", Name, nullable=False),
    Index("uses_used_by", "used_by"),
)

# Metrics, parameters and tags of runs, to find and to order runs by.
run_values = Table(
    "run_values",
    metadata,
    Column("run", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("number", Double),
    Column("text", Text),
    Index("run_values_number", "kind", "name", "number"),
)

# Online endpoints and what answers for them; ``revision`` counts the changes of a row.
endpoints = Table(
    "endpoints",
    metadata,
    Column("name", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
    Column("record", Json, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("endpoint", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
    Column("record", Json, nullable=False),
)

batch_endpoints = Table(
    "batch_endpoints",
    metadata,
    Column("name", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
    Column("record", Json, nullable=False),
)

batch_deployments = Table(
    "batch_deployments",
    metadata,
    Column("endpoint", Name, primary_key=True),
    Column("name", Name, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("created", Name, nullable=False),
    Column("updated", Name, nullable=False),
    Column("record", Json, nullable=False),
)

# Jobs of every kind; ``target`` is what a job is of, such as "batch:ENDPOINT/DEPLOYMENT".
jobs = Table(
    "jobs",
    metadata,
    Column("name", Name, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("target", Name),
    Column("parent", Name),
    Column("display_name", Text),
    Column("created", Name, nullable=False),
    Column("started", Name),
    Column("ended", Name),
    Column("record", Json, nullable=False),
    Column("archived", Boolean, nullable=False, server_default=false()),
    Index("jobs_created", "created"),
    Index("jobs_target", "target", "created"),
    Index("jobs_parent", "parent"),
)
