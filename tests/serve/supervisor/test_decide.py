"""What is to be done about instances: the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve.endpoints.spec import Probe, RequestSettings, Spec
from serve.supervisor.decide import Phase, Plan, Seen, decide, generation_of, pause_after, scale

STARTING, READY, UNREADY, DRAINING = Phase.STARTING, Phase.READY, Phase.UNREADY, Phase.DRAINING


def new(slot: int, phase: Phase = READY, busy: int = 0) -> Seen:
    return Seen(slot, "new", phase, busy)


def old(slot: int, phase: Phase = READY, busy: int = 0) -> Seen:
    return Seen(slot, "old", phase, busy)


@pytest.mark.parametrize(
    ("wanted", "seen", "expected"),
    [
        (2, [], Plan(2)),
        (2, [new(0)], Plan(1)),
        (2, [new(0), new(1, STARTING)], Plan()),
        (1, [new(0, DRAINING)], Plan(1)),
        (1, [new(0), new(1, STARTING)], Plan(0, (1,))),
        (1, [new(0, busy=3), new(1, busy=1)], Plan(0, (1,))),
        (1, [new(0), new(1)], Plan(0, (1,))),
        (0, [new(0), new(1, STARTING)], Plan(0, (1, 0))),
        # an update goes one by one, and what answers goes only for one that answers
        (2, [old(0), old(1)], Plan(1)),
        (2, [old(0), old(1), new(2, STARTING)], Plan()),
        (2, [old(0, busy=1), old(1), new(2)], Plan(0, (1,))),
        (2, [old(0), old(1, DRAINING), new(2)], Plan()),
        (2, [old(0), new(2)], Plan(1)),
        (2, [old(0), new(2), new(1, STARTING)], Plan()),
        (2, [old(0), new(2), new(1)], Plan(0, (0,))),
        # old ones that answer nothing are of no use to anybody
        (1, [old(0, STARTING)], Plan(1, (0,))),
        (1, [old(0, UNREADY), new(1)], Plan(0, (0,))),
        (3, [old(0, UNREADY), old(1)], Plan(2, (0,))),
        (0, [old(0)], Plan(0, (0,))),
    ],
)
def test_the_next_step(wanted: int, seen: list[Seen], expected: Plan) -> None:
    assert decide(wanted, "new", seen) == expected


def test_nothing_is_started_before_its_time_but_old_ones_stay() -> None:
    assert decide(2, "new", [old(0), old(1)], may_start=False) == Plan()
    assert decide(2, "new", [], may_start=False) == Plan()


def test_every_update_ends_with_new_instances_only_and_never_fewer_than_wanted_ready() -> None:
    for wanted in range(1, 6):
        live = [old(slot) for slot in range(wanted)]
        for _ in range(50):
            plan = decide(wanted, "new", live)
            live = [one for one in live if one.slot not in plan.drain]
            free = [slot for slot in range(20) if slot not in {one.slot for one in live}]
            assert sum(one.phase is READY for one in live) >= wanted
            live = [replace(one, phase=READY) for one in live] + [new(slot, STARTING) for slot in free[: plan.start]]
            assert len(live) <= wanted + 1
        assert {one.generation for one in live} == {"new"} and len(live) == wanted


@pytest.mark.parametrize(
    ("load", "recent", "idle", "now", "expected"),
    [
        (0, 0, 0, 1, 1),
        (4, 0, 0, 1, 2),
        (5, 0, 0, 1, 3),
        (99, 0, 0, 1, 4),
        (2, 6, 0, 3, 3),  # less load has not lasted yet
        (2, 2, 0, 3, 1),
        (0, 9, 59, 4, 4),
        (0, 0, 60, 1, 0),
        (0, 0, 60, 0, 0),
        (1, 0, 0, 0, 1),
    ],
)
def test_how_many_there_should_be(load: int, recent: int, idle: float, now: int, expected: int) -> None:
    spec = Spec("script", min_instances=0, max_instances=4, target_in_flight=2, idle_seconds=60)
    assert scale(spec, load, recent, idle, now) == expected


def test_a_fixed_number_stays() -> None:
    spec = Spec("script", instance_count=2, min_instances=2, max_instances=2)
    assert {scale(spec, load, load, 10_000, 2) for load in (0, 1, 50)} == {2}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"instance_count": 3, "min_instances": 3, "max_instances": 3}, True),
        ({"request": RequestSettings(queue_wait=9)}, True),
        ({"liveness": Probe(period=1)}, True),
        ({"memory_limit": 1}, True),
        ({"request": RequestSettings(concurrency=9)}, False),
        ({"variables": {"A": "1"}}, False),
        ({"code": Path("/other")}, False),
        ({"model": "iris:2"}, False),
    ],
)
def test_only_what_a_process_sees_starts_a_new_one(change: dict[str, Any], same: bool) -> None:
    spec = Spec("script", code=Path("/code"))
    assert (generation_of(replace(spec, **change)) == generation_of(spec)) is same


def test_pauses_grow_to_five_minutes() -> None:
    assert [pause_after(failures) for failures in (0, 1, 2, 3, 7, 10, 5000)] == [0, 1, 2, 4, 64, 300, 300]
