"""A controller against simulated servers, on a simulated clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from promptflow.batch.adaptive import MOST, AdaptiveLimit


class World:
    """Runs lines as a transport does: as many at once as the limit says, replaced as they end."""

    def __init__(self, seconds: Callable[[int], float], start: int = 16, most: int = MOST) -> None:
        self.now = 0.0
        self.limit = AdaptiveLimit(start, most, clock=lambda: self.now)
        self.seconds = seconds  # of a line, by how many run
        self.in_flight: list[float] = []
        self.ended = 0
        self.seen: list[int] = []
        self.refuses: Callable[[int], bool] = lambda running: False

    def run(self, lines: int) -> World:
        until = self.ended + lines
        while self.ended < until:
            while len(self.in_flight) < self.limit.limit:
                heapq.heappush(self.in_flight, self.now + self.seconds(len(self.in_flight) + 1))
            self.now = heapq.heappop(self.in_flight)
            if self.refuses(len(self.in_flight) + 1):
                self.limit.throttled()
            self.limit.ended()
            self.ended += 1
            self.seen.append(self.limit.limit)
        return self


def test_a_server_with_room_for_all_gets_the_most_soon() -> None:
    world = World(lambda running: 0.2).run(1000)
    assert world.limit.limit == MOST
    assert world.now < 0.2 * 1000 / 64  # faster than 64 at once from the beginning


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("room", [1, 4, 20, 50, 100])
def test_more_than_a_server_does_at_once_does_not_pay(room: int, seed: int) -> None:
    chance = random.Random(seed)
    world = World(lambda running: chance.uniform(0.1, 0.3) * max(1.0, running / room)).run(10_000)
    late = sorted(world.seen[5000:])
    assert min(room, 16) <= late[len(late) // 2] <= max(2.3 * room, 40)  # the median


def test_steps_grow_with_a_server_that_gets_more_room_later() -> None:
    world = World(lambda running: 0.2 * max(1.0, running / room))
    room = 20
    world.run(3000)
    assert world.limit.limit < 64
    room = 200
    world.run(30_000)
    assert world.limit.limit > 128


def test_refusals_that_come_together_halve_once() -> None:
    world = World(lambda running: 0.2).run(1000)
    for _ in range(200):
        world.limit.throttled(5.0)
    assert world.limit.limit == MOST // 2
    world.now += 5.1
    world.limit.throttled(5.0)
    assert world.limit.limit == MOST // 4


def test_a_raise_that_is_refused_is_taken_back_and_not_tried_again_at_once() -> None:
    world = World(lambda running: 0.2)
    world.refuses = lambda running: running > 64
    world.run(300)
    raised = max(world.seen)
    assert raised > 64
    world.run(1000)
    assert set(world.seen[-1000:]) == {64}


def test_a_few_refusals_among_many_lines_do_not_slow_the_batch() -> None:
    world = World(lambda running: 0.2).run(1000)
    count = 0

    def refuses(running: int) -> bool:
        nonlocal count
        count += 1
        return count % 100 == 0

    world.refuses = refuses
    world.run(5000)
    assert world.limit.limit == MOST


def test_one_refusal_with_a_time_is_enough() -> None:
    world = World(lambda running: 0.2).run(1000)
    world.limit.throttled(1.0)
    assert world.limit.limit == MOST // 2


@pytest.mark.parametrize("room", [3, 10, 40])
def test_the_number_settles_around_what_a_server_does_not_refuse(room: int) -> None:
    world = World(lambda running: 0.2)
    world.refuses = lambda running: running > room
    world.run(20_000)
    late = world.seen[10_000:]
    mean = sum(late) / len(late)
    assert 0.5 * room <= mean <= 1.6 * room


def test_it_never_falls_below_one_and_comes_back() -> None:
    world = World(lambda running: 0.2)
    for _ in range(30):
        world.now += 100
        world.limit.throttled(10.0)
    assert world.limit.limit == 1
    world.now += 100
    world.run(20_000)
    assert world.limit.limit > 100


@pytest.mark.parametrize("seed", range(5))
def test_lines_of_very_different_length_do_not_confuse_it(seed: int) -> None:
    chance = random.Random(seed)
    world = World(lambda running: chance.choice([0.002, 0.2, 1.0, 3.0])).run(20_000)
    assert sum(world.seen[10_000:]) / 10_000 > 100
