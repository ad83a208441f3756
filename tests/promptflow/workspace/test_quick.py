"""The quick way to single rows answers as the store does, or not at all."""

import sqlite3
import subprocess
import sys

import pytest
from sqlalchemy import Boolean

from promptflow.workspace import Workspace
from promptflow.workspace.quick import BOOLEAN_COLUMNS, JSON_COLUMNS, Missing, QuickRows
from promptflow.workspace.tables import Json, metadata

ROW = {"name": "a", "type": "Custom", "config": {"configs": {"x": "ü"}}, "created": "1", "updated": "1"}


@pytest.fixture
def local(home):
    workspace = Workspace.open(database_url="")
    workspace.store.put("connections", ROW)
    return workspace


@pytest.mark.parametrize("table", JSON_COLUMNS)
def test_it_knows_the_columns_of_its_tables(table):
    columns = metadata.tables[table].columns

    assert [c.name for c in columns if isinstance(c.type, Json)] == list(JSON_COLUMNS[table])
    assert [c.name for c in columns if isinstance(c.type, Boolean)] == list(BOOLEAN_COLUMNS[table])


def test_it_reads_adds_and_changes_rows_as_the_store_does(local):
    quick = QuickRows(local.db.sqlite_file)

    assert quick.get("connections", "a") == ROW and quick.get("connections", "b") is Missing
    assert quick.add("connections", {**ROW, "name": "b"}) is True
    assert quick.add("connections", {**ROW, "name": "b"}) is False
    assert quick.update("connections", "b", {"config": [1]}) is True
    assert quick.update("connections", "c", {"config": [1]}) is False
    assert local.store.list("connections", where={"name": "b"}) == [{**ROW, "name": "b", "config": [1]}]


def test_it_does_not_answer_for_other_tables_versions_and_files(local):
    file = local.db.sqlite_file
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE workspace_version SET version_num = '9999'")

    assert QuickRows(file).get("connections", "a") is None
    assert QuickRows(file).get("events", "a") is None
    assert QuickRows(file.with_name("none")).get("connections", "a") is None
    assert not file.with_name("none").exists()
    assert QuickRows(None).add("connections", ROW) is None


def test_inside_a_transaction_the_transaction_answers(local):
    with local.db.write():
        local.store.put("connections", {**ROW, "name": "new"})
        assert local.store.get("connections", "new") is not None
        assert local.store.update("connections", "new", type="OpenAI")

    assert local.store.get("connections", "new")["type"] == "OpenAI"


def test_a_row_of_a_current_store_is_had_without_sqlalchemy(local):
    code = (
        "import sys; from promptflow.workspace import Workspace\n"
        "assert Workspace.open().store.get('connections', 'a')['type'] == 'Custom'\n"
        "assert 'sqlalchemy' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == ""
