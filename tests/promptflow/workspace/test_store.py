from __future__ import annotations

from typing import Any

import pytest

from promptflow.exceptions import StoreError, WorkspaceError
from promptflow.workspace import Workspace


def connection(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "custom", "config": {}, "created": "2026-01-01", "updated": "2026-01-01", **fields}


def run(name: str, created: str = "2026-01-01") -> dict[str, Any]:
    return {"name": name, "kind": "batch", "status": "Completed", "created": created, "record": {}}


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 2.5, None, True, "é\u0000\n"]},
        {"big": 2**80},
        {"lone surrogate": "\ud800"},
        {"1": "numbers as keys become texts"},
        [],
        "text",
        0,
    ],
)
def test_json_comes_back_as_it_was(workspace: Workspace, value: Any) -> None:
    workspace.store.put("connections", connection("c", config=value))
    assert workspace.store.get("connections", "c")["config"] == value  # type: ignore[index]


def test_put_changes_a_row_but_keeps_when_it_was_created(workspace: Workspace) -> None:
    workspace.store.put("connections", connection("c"))
    workspace.store.put("connections", connection("c", type="openai", created="2027", updated="2027"))
    row = workspace.store.get("connections", "c")
    assert row is not None
    assert (row["type"], row["created"], row["updated"]) == ("openai", "2026-01-01", "2027")


def test_add_refuses_a_name_that_is_taken(workspace: Workspace) -> None:
    assert workspace.store.add("connections", connection("c", type="first"))
    assert not workspace.store.add("connections", connection("c", type="second"))
    assert workspace.store.get("connections", "c")["type"] == "first"  # type: ignore[index]


def test_update_and_delete_say_whether_the_row_was_there(workspace: Workspace) -> None:
    workspace.store.put("connections", connection("c"))
    assert workspace.store.update("connections", "c", type="other")
    assert not workspace.store.update("connections", "absent", type="other")
    assert workspace.store.delete("connections", "c")
    assert not workspace.store.delete("connections", "c")
    assert workspace.store.get("connections", "c") is None


def test_list_orders_by_bytes_filters_and_pages(workspace: Workspace) -> None:
    for name in ("b", "B", "a", "_", "ä"):
        workspace.store.put("connections", connection(name, type="t" if name in "aB" else "u"))
    names = [row["name"] for row in workspace.store.list("connections")]
    assert names == ["B", "_", "a", "b", "ä"]
    assert [row["name"] for row in workspace.store.list("connections", where={"type": "t"})] == ["B", "a"]
    assert [row["name"] for row in workspace.store.list("connections", where={"name": ["a", "b"]})] == ["a", "b"]
    assert workspace.store.list("connections", limit=1, offset=1, columns=["name"]) == [{"name": "_"}]


def test_archived_rows_can_be_told(workspace: Workspace) -> None:
    workspace.store.append("runs", [run("r1"), run("r2")])
    assert workspace.store.archive("runs", "r1")
    assert [row["name"] for row in workspace.store.list("runs", where={"archived": False})] == ["r2"]
    workspace.store.archive("runs", "r1", archived=False)
    assert len(workspace.store.list("runs", where={"archived": False})) == 2


@pytest.mark.parametrize(
    ("text", "name"),
    [("web", "web"), ("web_1", "web_1"), ("qa", "qa_20260101"), ("@latest", "web_1"), ("@latest~2", "qa_20260101")],
)
def test_names_may_be_abbreviated(workspace: Workspace, text: str, name: str) -> None:
    rows = [run("qa_20260101", "2026-01-01"), run("web", "2026-01-02"), run("web_1", "2026-01-03"), run("Qa", "2025")]
    workspace.store.append("runs", rows)
    assert workspace.store.resolve("runs", text) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("we", "beginning of several"),
        ("x", "Nothing in 'runs'"),
        ("", "Nothing in 'runs'"),
        ("%", "Nothing in 'runs'"),
        ("@latest~9", "holds fewer"),
    ],
)
def test_an_abbreviation_that_fits_none_or_several_is_an_error(workspace: Workspace, text: str, message: str) -> None:
    workspace.store.append("runs", [run("web"), run("web_1")])
    with pytest.raises(StoreError, match=message):
        workspace.store.resolve("runs", text)


def test_a_failed_transaction_leaves_nothing(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), workspace.db.write():
        workspace.store.put("connections", connection("c"))
        raise RuntimeError
    assert workspace.store.list("connections") == []


def test_an_inner_failure_undoes_the_inner_part_only(workspace: Workspace) -> None:
    with workspace.db.write():
        workspace.store.put("connections", connection("outer"))
        with pytest.raises(RuntimeError), workspace.db.write():
            workspace.store.put("connections", connection("inner"))
            raise RuntimeError
        assert workspace.store.get("connections", "outer")
    assert [row["name"] for row in workspace.store.list("connections")] == ["outer"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.list("nothing"), "no table 'nothing'"),
        (lambda store: store.list("runs", where={"colour": 1}), "no column 'colour'"),
        (lambda store: store.delete_where("runs", {}), "Refusing"),
    ],
)
def test_misuse_is_named(workspace: Workspace, call: Any, message: str) -> None:
    with pytest.raises(WorkspaceError, match=message):
        call(workspace.store)


def test_a_query_in_sql_answers_alike_everywhere_and_inside_a_transaction(workspace: Workspace) -> None:
    row = {"name": "a", "kind": "batch", "status": "Completed", "created": "1", "record": {"tags": {"t": "ü"}}}
    workspace.store.put("runs", row)
    query = "SELECT name, archived, record FROM runs WHERE name = :name AND archived = :archived"
    expected = [{"name": "a", "archived": False, "record": {"tags": {"t": "ü"}}}]
    assert workspace.store.select("runs", query, name="a", archived=False) == expected
    assert workspace.store.select("runs", query, name="b", archived=False) == []
    with workspace.db.write():
        workspace.store.update("runs", "a", archived=True)
        assert workspace.store.select("runs", query, name="a", archived=False) == []
        assert workspace.store.select("runs", query, name="a", archived=True)[0]["archived"] is True
