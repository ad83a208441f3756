"""Batch endpoints, their deployments, and jobs of every kind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "batch_endpoints",
        sa.Column("name", Name, primary_key=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_table(
        "batch_deployments",
        sa.Column("endpoint", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("name", Name, primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("target", Name),
        sa.Column("parent", Name),
        sa.Column("display_name", sa.Text()),
        sa.Column("created", Name, nullable=False),
        sa.Column("started", Name),
        sa.Column("ended", Name),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_index("jobs_created", "jobs", ["created"])
    op.create_index("jobs_target", "jobs", ["target", "created"])
    op.create_index("jobs_parent", "jobs", ["parent"])
