from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from promptflow.exceptions import RunExistsError, RunNotFoundError
from promptflow.storage.record import RunRecord
from promptflow.storage.runs import RunStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def record(name: str, minutes: int = 0, **fields) -> RunRecord:
    values = dict(type="batch", status="Completed", created_on=NOW + timedelta(minutes=minutes), output_path=Path("/o"))
    return RunRecord(name, **{**values, **fields})


@pytest.fixture
def store(workspace) -> RunStore:
    return RunStore(workspace)


def test_a_record_comes_back_as_it_was(store):
    full = record(
        "r",
        start_time=NOW,
        end_time=NOW,
        display_name="shown",
        description="d",
        tags={"k": "v"},
        flow="/f",
        data="/d",
        run="parent",
        archived=True,
        properties={"system_metrics": {"duration": 1.5}},
        details={"kind": "dag", "entry": "m:f"},
    )
    store.add(full)
    assert store.get("r") == full


def test_a_name_is_taken_once(store):
    store.add(record("r"))
    with pytest.raises(RunExistsError, match="'r' already exists"):
        store.add(record("r", status="Failed"))
    assert store.get("r").status == "Completed"


def test_the_newest_come_first_whatever_their_time_zone(store):
    east = NOW.astimezone().replace(tzinfo=None).astimezone()
    for name, created in (("a", NOW), ("c", east + timedelta(minutes=2)), ("b", NOW + timedelta(minutes=1))):
        store.add(replace(record(name), created_on=created))
    assert [r.name for r in store.list()] == ["c", "b", "a"]
    assert [r.name for r in store.list(2)] == ["c", "b"]


def test_lists_by_archive_and_beginning(store):
    for minute, name in enumerate(["x%1", "x_2", "y1"]):
        store.add(record(name, minute, archived=name == "y1"))
    assert [r.name for r in store.list()] == ["x_2", "x%1"]
    assert [r.name for r in store.list(archived=True)] == ["y1"]
    assert [r.name for r in store.list(None, archived=None)] == ["y1", "x_2", "x%1"]
    assert [r.name for r in store.list(prefix="x%")] == ["x%1"]


@pytest.mark.parametrize(
    "act", [lambda s: s.get("no"), lambda s: s.delete("no"), lambda s: s.save(record("no"))], ids=["get", "del", "save"]
)
def test_a_run_that_is_not_there(store, act):
    with pytest.raises(RunNotFoundError, match="'no' cannot be found"):
        act(store)


def test_saving_replaces_and_deleting_forgets(store):
    store.add(record("r", status="Running"))
    store.save(record("r", status="Failed"))
    assert store.get("r").status == "Failed"
    store.delete("r")
    assert store.list(None, archived=None) == []
