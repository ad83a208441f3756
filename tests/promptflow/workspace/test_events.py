from __future__ import annotations

from itertools import islice

import pytest

from promptflow.workspace import Workspace


def test_events_come_back_in_order(workspace: Workspace) -> None:
    first = workspace.events.append("run.started", "r1", {"rows": 3})
    workspace.events.append("run.ended", "r1")
    workspace.events.append("process.started", "engine")
    assert workspace.events.list()[0] == first
    assert [event.kind for event in workspace.events.list()] == ["run.started", "run.ended", "process.started"]
    assert [event.kind for event in workspace.events.list(after=first.id, limit=1)] == ["run.ended"]


def test_events_are_chosen_by_kind_and_subject(workspace: Workspace) -> None:
    for kind, subject in (("run.started", "r1"), ("run.ended", "r1"), ("runs", "r1"), ("run.started", "r2")):
        workspace.events.append(kind, subject)
    assert [e.subject for e in workspace.events.list(kind="run.started")] == ["r1", "r2"]
    assert [e.kind for e in workspace.events.list(kind="run.", subject="r1")] == ["run.started", "run.ended"]


def test_an_event_is_part_of_the_transaction_around_it(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError), workspace.db.write():
        workspace.events.append("run.started", "r1")
        raise RuntimeError
    assert workspace.events.list() == []


def test_ids_are_not_given_out_twice(workspace: Workspace) -> None:
    last = [workspace.events.append("k", "s").id for _ in range(3)][-1]
    workspace.store.delete_where("events", {"id": last})
    assert workspace.events.append("k", "s").id > last


def test_a_follower_gets_what_was_and_what_comes(workspace: Workspace) -> None:
    workspace.events.append("k", "old")
    follower = workspace.events.follow(poll_seconds=0.01)
    assert next(follower).subject == "old"
    workspace.events.append("k", "new")
    workspace.events.append("k", "newer")
    assert [event.subject for event in islice(follower, 2)] == ["new", "newer"]
