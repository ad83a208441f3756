"""Runs found by what they measured, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.run_filter import parse_filter, parse_order
from catalog.runs import RunSearch
from promptflow.cli.main import main
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace


def end_run(workspace: Workspace, name: str, metrics: dict[str, Any], **fields: Any) -> None:
    """A run that ended with these metrics, as `pf run create` leaves one."""
    folder = workspace.runs_folder / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    record = {"output_path": str(folder), "tags": fields.pop("tags", None), "properties": fields.pop("properties", {})}
    row = {"name": name, "kind": "batch", "status": "Completed", "created": name, "record": record, **fields}
    workspace.store.put("runs", row)
    workspace.events.append("run.ended", name, {})


@pytest.fixture
def search(workspace: Workspace) -> RunSearch:
    counts = {"system_metrics": {"total_tokens": 70, "__pf__.lines.failed": 1}}
    end_run(workspace, "a", {"f1": 0.5, "loss": 3, "good": True}, tags={"team": "search"}, properties=counts)
    end_run(workspace, "b", {"f1": 0.9, "label": "text", "bad": None}, tags={"team": "it's"}, status="Failed")
    end_run(workspace, "c", {"f1": 0.7}, tags={"team": "search", "a.b": "x"}, display_name="third")
    end_run(workspace, "d", {})
    return RunSearch(workspace)


def names(search: RunSearch, filter: str = "", **options: Any) -> list[str]:
    return [run.name for run in search.find(filter, **options)]


# A database each would take PostgreSQL a minute: these tables are gone through in one.
FILTERS = [
    ("", "dcba"),
    ("metrics.f1 > 0.5", "cb"),
    ("metrics.f1 >= 0.5 and metrics.loss < 4", "a"),
    ("metrics.total_tokens = 70", "a"),
    ("metrics.`f1` != .5", "cb"),
    ("tags.team = 'search'", "ca"),
    ("tags.team == 'it\\'s'", "b"),
    ('tags.team = "it\'s"', "b"),
    ("tags.a.b = x AND status = 'Completed'", "c"),
    ("status != 'Completed'", "b"),
    ("name = 'd'", "d"),
    ("display_name like 'thi%'", "c"),
    ("attributes.kind = batch and name > 'b'", "dc"),
    ("metrics.absent > 0", ""),
    ("tags.team = '; DROP TABLE runs; --'", ""),
]
ORDERS = [
    ("-metrics.f1", "bcad"),
    ("metrics.f1", "acbd"),
    ("metrics.f1 desc", "bcad"),
    ("metrics.loss", "adcb"),
    ("created", "abcd"),
    ("-name", "dcba"),
    ("tags.team", "bcad"),
    ("metrics.absent", "dcba"),
]


def test_filters(search: RunSearch) -> None:
    assert {filter: "".join(names(search, filter)) for filter, _ in FILTERS} == dict(FILTERS)


def test_orders_have_what_lacks_the_key_last(search: RunSearch) -> None:
    assert {order: "".join(names(search, order=order)) for order, _ in ORDERS} == dict(ORDERS)
    first = {order: "".join(names(search, order=order, limit=3)) for order, _ in ORDERS}
    assert first == {order: expected[:3] for order, expected in ORDERS}


def test_what_is_found_tells_its_numbers(search: RunSearch) -> None:
    found = search.find("name = 'a'")[0]
    assert found.metrics == {"f1": 0.5, "loss": 3.0, "good": 1.0, "total_tokens": 70.0, "__pf__.lines.failed": 1.0}
    assert found.tags == {"team": "search"}
    assert search.find("name = 'b'")[0].metrics == {"f1": 0.9}


def test_runs_are_taken_in_when_they_have_ended(search: RunSearch, workspace: Workspace) -> None:
    assert search.refresh() == 4 and search.refresh() == 0
    end_run(workspace, "e", {"f1": 0.95})
    end_run(workspace, "a", {"f1": 0.99})
    workspace.store.delete("runs", "b")
    assert names(search, "metrics.f1 > 0.6", order="-metrics.f1") == ["a", "e", "c"]
    workspace.store.archive("runs", "e")
    assert names(search, order="-metrics.f1") == ["a", "c", "d"]
    assert names(search, order="-metrics.f1", archived=True) == ["e"]
    assert names(search, order="-metrics.f1", archived=None, limit=2) == ["a", "e"]


@pytest.mark.parametrize(
    "filter",
    [
        "metrics.f1",
        "metrics.f1 > ",
        "f2 > 3",
        "metrics.f1 > high",
        "metric f1 > 1",
        "a.b = 1",
        "name = 'a' or name = 'b'",
        "and",
    ],
)
def test_filters_that_cannot_be_read(filter: str) -> None:
    with pytest.raises(ValidationException):
        parse_filter(filter)


@pytest.mark.parametrize("order", ["", "-", "metrics.f1 up", "a b c", "absent"])
def test_orders_that_cannot_be_read(order: str) -> None:
    with pytest.raises(ValidationException):
        parse_order(order)


def test_at_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open()
    for name, f1 in (("a", 0.5), ("b", 0.9)):
        end_run(workspace, name, {"f1": f1}, properties={"system_metrics": {"duration": 1.5}}, tags={"t": "x"})
    assert main(["run", "search", "metrics.f1 > 0.1", "tags.t = x", "--order-by=-metrics.f1", "-o", "tsv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name\tstatus\tcreated\tf1",
        "b\tCompleted\tb\t0.9",
        "a\tCompleted\ta\t0.5",
    ]
    assert main(["run", "search", "metrics.f1 > 0.6", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metrics"] == {"f1": 0.9, "duration": 1.5}
    assert main(["run", "search", "f1 > 0.6"]) == 1
    assert "Runs have no 'f1'" in capsys.readouterr().err
