import math
from datetime import UTC, datetime

import pytest

from promptflow.contracts.multimedia import Image, Text
from promptflow.contracts.types import AttrDict, Secret
from promptflow.storage.encode import to_json
from promptflow.storage.exact import is_exact, pack, unpack
from promptflow.storage.jsonl import from_json

TAG = {"$tuple": [1]}
PLAIN = [None, True, 1, -(2**63), 2**64 - 1, 1.5, -0.0, "", "ä\ud800", [], {}, {"a": [1, {"b": None}]}, TAG]
OTHERS = [
    (1, "a"),
    {1, 2},
    frozenset({"a"}),
    b"\x00\xff",
    2**64,
    math.inf,
    -math.inf,
    {1: "a", None: [(2,)], (3, 4): {}},
    {"data:image/png;path": "no image"},
    AttrDict(a=(1,)),
    datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    [[{"deep": {1.5}}]],
]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_are_exact(value):
    assert is_exact(value)
    assert from_json(to_json(value)) == value


@pytest.mark.parametrize("value", [*PLAIN, *OTHERS], ids=ascii)
def test_what_is_packed_comes_back(value):
    back = unpack(from_json(to_json(pack(value))))
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_not_a_number_stays_none():
    assert math.isnan(unpack(from_json(to_json(pack([math.nan]))))[0])


@pytest.mark.parametrize("value", [*OTHERS, math.nan, Ellipsis, Text("a"), Secret("a"), [Secret("a")], int], ids=ascii)
def test_others_are_not_exact(value):
    assert not is_exact(value)


@pytest.mark.parametrize("value", [object(), Text("a"), Secret("a"), [{"a": Image(b"GIF87a")}], {1: int}])
def test_objects_cannot_be_packed(value):
    with pytest.raises(ValueError, match="no plain type"):
        pack(value)


@pytest.mark.parametrize("kind", [list, dict])
def test_values_inside_themselves_are_neither(kind):
    inside = kind()
    inside.append(inside) if kind is list else inside.setdefault("a", inside)
    assert not is_exact(inside)
    with pytest.raises(ValueError, match="too deeply"):
        pack(inside)


def test_images_are_exact():
    assert is_exact([Image(b"GIF87a")])
