"""Spans; runs can be archived, and found by their parent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index("runs_parent", "runs", ["parent"])
    op.create_table(
        "spans",
        sa.Column("trace_id", Name, primary_key=True),
        sa.Column("span_id", Name, primary_key=True),
        sa.Column("parent_id", Name),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text()),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger()),
        sa.Column("status", sa.Text()),
        sa.Column("collection", Name),
        sa.Column("session", Name),
        sa.Column("run", Name),
        sa.Column("line_run_id", Name),
        sa.Column("line_number", sa.BigInteger()),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("events", sa.Text(), nullable=False),
    )
    op.create_index("spans_start", "spans", ["start_ns"])
    op.create_index("spans_collection", "spans", ["collection", "start_ns"])
    op.create_index("spans_run", "spans", ["run", "line_number"])
    op.create_index("spans_line_run", "spans", ["line_run_id"])
