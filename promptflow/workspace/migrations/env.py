"""Alembic's entry: runs the revisions on the connection that it was given, inside its transaction."""

from __future__ import annotations

from alembic import context

from promptflow.workspace.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
