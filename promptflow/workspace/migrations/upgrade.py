"""Build the tables of an empty database, or bring an older one up to date; inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from promptflow.workspace.migrations import HEAD, VERSION_TABLE
from promptflow.workspace.tables import metadata


def build(connection: Connection) -> None:
    """Create all tables of HEAD at once: the same as all revisions, without importing Alembic (a test compares)."""
    metadata.create_all(connection, checkfirst=False)
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:head)"), {"head": HEAD})


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the revisions that are missing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
