"""Shares hold at every prefix; who sticks, sticks."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from serve.gateway.traffic import Mirror, Split, cycle


@pytest.mark.parametrize(
    "shares",
    [
        {"blue": 90, "green": 10},
        {"blue": 100},
        {"a": 33, "b": 33, "c": 34},
        {"a": 97, "b": 1, "c": 1, "d": 1},
        {"blue": 0, "green": 100},
        dict.fromkeys("abcdefghij", 10),
    ],
)
def test_each_has_its_share_to_within_one_request_at_any_prefix(shares: dict[str, int]) -> None:
    assert worst_error(shares, 1000) < 1


def test_shares_hold_for_any_numbers() -> None:
    dice = random.Random(5)
    for _ in range(300):
        cuts = sorted(dice.sample(range(1, 100), dice.randint(1, 8)))
        parts = [after - before for before, after in itertools.pairwise([0, *cuts, 100])]
        assert worst_error({f"d{at}": part for at, part in enumerate(parts)}, 200) < 1


def test_a_round_is_as_short_as_it_can_be() -> None:
    assert sorted(cycle({"blue": 75, "green": 25})) == ["blue", "blue", "blue", "green"]
    assert not Split({}) and not Split({"blue": 0})


def test_who_sticks_gets_the_same_deployment_and_shares_are_about_right() -> None:
    split = Split({"blue": 90, "green": 10})
    users = [b"user-%d" % number for number in range(2000)]
    homes = [split.stick(user) for user in users]
    assert homes == [split.stick(user) for user in users]
    assert 140 < Counter(homes)["green"] < 260


def test_when_shares_change_only_those_move_who_have_to() -> None:
    before, after = Split({"blue": 90, "green": 10}), Split({"blue": 80, "green": 20})
    users = [b"user-%d" % number for number in range(2000)]
    moves = Counter((before.stick(user), after.stick(user)) for user in users)
    assert moves["green", "blue"] == 0
    assert moves["blue", "green"] < 300


def test_a_mirror_gets_its_percentage_evenly_spread() -> None:
    mirror = Mirror({"green": 30, "grey": 100, "off": 0})
    copies = [mirror.pick() for _ in range(1000)]
    assert sum("green" in names for names in copies) == 300
    assert all("grey" in names and "off" not in names for names in copies)
    assert all(2 <= sum("green" in names for names in copies[at : at + 10]) <= 4 for at in range(0, 1000, 10))


def worst_error(shares: dict[str, int], requests: int) -> float:
    split, had, worst = Split(shares), Counter[str](), 0.0
    for sent in range(1, requests + 1):
        had[split.pick()] += 1
        worst = max(worst, *(abs(had[name] - share * sent / 100) for name, share in shares.items()))
    return worst
