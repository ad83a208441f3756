"""Online endpoints and their deployments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "endpoints",
        sa.Column("name", Name, primary_key=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_table(
        "deployments",
        sa.Column("endpoint", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
