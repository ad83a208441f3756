"""What is to be done about the instances of a deployment: pure decisions, which others carry out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from serve.endpoints.spec import Spec
from serve.placement.place import place_of

STEADY = 30.0  # seconds for which less load must last before instances go
SURGE = 1  # instances above the wanted number while new ones take over from old ones
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # before what failed is started again
KILLED_TOO_OFTEN = 20  # times in a minute that instances may be killed from outside before there is a pause

# What of a spec its process does not see: a change of these starts nothing anew.
_OUTSIDE = frozenset(
    ("instance_count", "min_instances", "max_instances", "target_in_flight", "idle_seconds", "request", "liveness",
     "readiness", "memory_limit", "collector", "assets", "recorded")
)  # fmt: skip


class Phase(StrEnum):
    """Of an instance: not ready yet, ready, ready once but not now, finishing what it has."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    DRAINING = "draining"


@dataclass(frozen=True)
class Seen:
    """An instance as it is now. ``generation`` says what it was started from."""

    slot: int
    generation: str
    phase: Phase
    busy: int = 0


@dataclass(frozen=True)
class Plan:
    """How many instances to start, and which are to finish."""

    start: int = 0
    drain: tuple[int, ...] = ()


def generation_of(spec: Spec) -> str:
    """Equal for specs that need no other process. Of the limits of requests, only the threads are the process's."""
    inside = {name: value for name, value in spec.to_json().items() if name not in _OUTSIDE}
    inside["concurrency"] = spec.request.concurrency
    inside["timeout"] = spec.request.timeout
    place = str(spec.recorded.get("instance_type", ""))
    if place_of(place) is not None:
        inside["place"] = place
    return hashlib.sha256(json.dumps(inside, sort_keys=True, default=str).encode()).hexdigest()[:16]


def decide(wanted: int, generation: str, seen: Sequence[Seen], may_start: bool = True) -> Plan:
    """The next step towards ``wanted`` instances of ``generation``. Old ones go only as new ones become ready."""
    live = [one for one in seen if one.phase is not Phase.DRAINING]
    current = [one for one in live if one.generation == generation]
    old = [one for one in live if one.generation != generation]
    old_ready = [one for one in old if one.phase is Phase.READY]
    ready = sum(one.phase is Phase.READY for one in current)

    missing = max(0, wanted - len(current))
    if old_ready:
        missing = min(missing, max(0, wanted + SURGE - len(seen)))
    surplus = _least_missed(current)[: max(0, len(current) - wanted)]
    useless = [one for one in old if one.phase is not Phase.READY]
    replaced = _least_missed(old_ready)[: max(0, len(old_ready) - max(0, wanted - ready))]
    return Plan(missing if may_start else 0, tuple(one.slot for one in (*surplus, *useless, *replaced)))


def scale(spec: Spec, load: int, recent: int, idle: float, now: int) -> int:
    """How many instances there should be.

    ``load`` is the requests in flight and in line, ``recent`` the most of them in the last ``STEADY`` seconds,
    ``idle`` the seconds since the last one, and ``now`` the number wanted so far.
    """
    least, most = spec.min_instances, max(spec.min_instances, spec.max_instances)
    if least == 0 and not load and (now == 0 or 0 < spec.idle_seconds <= idle):
        return 0
    for_load = math.ceil(load / spec.target_in_flight)
    for_recent = math.ceil(max(load, recent) / spec.target_in_flight)
    up = max(for_load, min(now, for_recent), 1)
    return max(least, min(most, up))


def pause_after(failures: int) -> float:
    """Seconds before another start, after so many in a row that came to nothing."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10)) if failures else 0.0


def _least_missed(instances: Sequence[Seen]) -> list[Seen]:
    """Those first that answer nothing yet, then the least busy, then the youngest."""
    return sorted(instances, key=lambda one: (one.phase is Phase.READY, one.busy, -one.slot))
