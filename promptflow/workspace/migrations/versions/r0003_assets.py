"""Versions of models and other assets: aliases, lineage, uses; values of runs to find them by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "assets",
        sa.Column("kind", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("version", Name, primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("digest", Name, nullable=False),
        sa.Column("form", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("stage", Name),
        sa.Column("description", sa.Text()),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
    )
    op.create_index("assets_number", "assets", ["kind", "name", "number"])
    op.create_index("assets_digest", "assets", ["digest"])
    op.create_table(
        "asset_names",
        sa.Column("kind", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("made", sa.BigInteger(), nullable=False),
        sa.Column("highest", sa.BigInteger(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "asset_aliases",
        sa.Column("kind", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("alias", Name, primary_key=True),
        sa.Column("version", Name, nullable=False),
        sa.Column("updated", Name, nullable=False),
    )
    op.create_table(
        "asset_blobs",
        sa.Column("content", Name, primary_key=True),
        sa.Column("blob", Name, primary_key=True),
    )
    op.create_index("asset_blobs_blob", "asset_blobs", ["blob"])
    op.create_table(
        "lineage",
        sa.Column("made", Name, primary_key=True),
        sa.Column("relation", Name, primary_key=True),
        sa.Column("source", Name, primary_key=True),
        sa.Column("created", Name, nullable=False),
    )
    op.create_index("lineage_source", "lineage", ["source"])
    op.create_table(
        "uses",
        sa.Column("asset", Name, primary_key=True),
        sa.Column("used_by", Name, primary_key=True),
        sa.Column("created", Name, nullable=False),
    )
    op.create_index("uses_used_by", "uses", ["used_by"])
    op.create_table(
        "run_values",
        sa.Column("run", Name, primary_key=True),
        sa.Column("kind", Name, primary_key=True),
        sa.Column("name", Name, primary_key=True),
        sa.Column("number", sa.Double()),
        sa.Column("text", sa.Text()),
    )
    op.create_index("run_values_number", "run_values", ["kind", "name", "number"])
