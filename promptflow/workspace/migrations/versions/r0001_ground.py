"""Connections, runs, events, secrets, names of blobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", Name, primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )
    op.create_table(
        "connections",
        sa.Column("name", Name, primary_key=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
    )
    op.create_table(
        "runs",
        sa.Column("name", Name, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("started", Name),
        sa.Column("ended", Name),
        sa.Column("display_name", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("flow", sa.Text()),
        sa.Column("data", sa.Text()),
        sa.Column("parent", Name),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_index("runs_created", "runs", ["created"])
    op.create_table(
        "events",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("time", Name, nullable=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("subject", Name, nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_kind", "events", ["kind", "id"])
    op.create_table(
        "secrets",
        sa.Column("name", Name, primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("name", Name, primary_key=True),
        sa.Column("digest", Name, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created", Name, nullable=False),
    )
    op.create_index("blobs_digest", "blobs", ["digest"])
