from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text

import promptflow.workspace.migrations as migrations
from promptflow.exceptions import WorkspaceError, WorkspaceVersionError
from promptflow.workspace import Workspace
from promptflow.workspace.db import Database
from promptflow.workspace.migrations.upgrade import upgrade
from promptflow.workspace.tables import metadata


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(Database(database_url).url)
    yield engine
    engine.dispose()


def make_old_store(engine: Engine, revision: str = "0001") -> None:
    """A store of an older version, with a run and a connection in it."""
    with engine.begin() as connection:
        upgrade(connection, revision)
        connection.execute(
            text(
                "INSERT INTO runs (name, kind, status, created, record) VALUES ('r', 'batch', 'Completed', '2025', '{}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO connections (name, type, config, created, updated) VALUES ('c', 't', '{}', '2025', '2025')"
            )
        )


def version(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT version_num FROM workspace_version")).scalar_one())


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_an_older_store_is_upgraded_with_all_that_it_holds(workspace: Workspace, engine: Engine, revision: str) -> None:
    make_old_store(engine, revision)
    assert version(engine) == revision
    row = workspace.store.get("runs", "r")
    assert row is not None and row["archived"] is False
    assert workspace.store.get("connections", "c")
    assert workspace.store.select("assets", "SELECT * FROM assets") == []
    assert version(engine) == migrations.HEAD


def test_two_processes_that_open_an_older_store_upgrade_it_once(
    workspace: Workspace, engine: Engine, database_url: str, start_python: Callable[..., object]
) -> None:
    make_old_store(engine)
    code = "import sys; from promptflow.workspace import Workspace; "
    code += "print(Workspace.open(database_url=sys.argv[1]).store.get('runs', 'r')['archived'])"
    openers = [start_python(code, database_url) for _ in range(3)]
    assert [opener.communicate(timeout=60) for opener in openers] == [("False\n", "")] * 3  # type: ignore[attr-defined]


def test_a_failed_upgrade_changes_nothing(workspace: Workspace, engine: Engine) -> None:
    make_old_store(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE spans (id INTEGER)"))
    with pytest.raises(WorkspaceError, match="another program"):
        workspace.store.list("runs")
    assert version(engine) == "0001"
    assert "archived" not in [column["name"] for column in inspect(engine).get_columns("runs")]


@pytest.mark.parametrize("newer", ["0099", "a1b2c3"])
def test_a_newer_store_is_refused_and_left_alone(workspace: Workspace, engine: Engine, newer: str) -> None:
    workspace.store.list("runs")
    workspace.close()
    with engine.begin() as connection:
        connection.execute(text("UPDATE workspace_version SET version_num = :newer"), {"newer": newer})
    with pytest.raises(WorkspaceVersionError, match=f"is of version {newer}") as caught:
        workspace.store.list("runs")
    assert "--upgrade" in caught.value.hint
    assert version(engine) == newer


def shape(connection: Connection) -> dict[str, object]:
    """Columns and indexes of every table, as the database itself tells them."""
    inspector = inspect(connection)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)],
            sorted((str(i["name"]), tuple(map(str, i["column_names"]))) for i in inspector.get_indexes(table)),
            inspector.get_pk_constraint(table)["constrained_columns"],
        )
        for table in inspector.get_table_names()
    }


def test_revisions_and_tables_lead_to_the_same_database(workspace: Workspace, engine: Engine) -> None:
    workspace.store.list("runs")
    with engine.begin() as connection:
        built = shape(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE workspace_version"))
        upgrade(connection)
        assert shape(connection) == built
        context = MigrationContext.configure(connection, opts={"version_table": migrations.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []


def test_head_is_the_last_revision() -> None:
    scripts = ScriptDirectory(str(next(iter(migrations.__path__))))
    assert scripts.get_heads() == [migrations.HEAD]
