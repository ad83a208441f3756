"""What may be returned, and how it becomes JSON."""

import datetime
import json

import pytest

from serve.scorers.answers import to_json
from serve.scorers.base import ModelError

numpy = pytest.importorskip("numpy")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": numpy.float32(0.5), "b": numpy.arange(2), "c": numpy.bool_(True)}, {"a": 0.5, "b": [0, 1], "c": True}),
        (numpy.arange(6).reshape(2, 3).T, [[0, 3], [1, 4], [2, 5]]),
        (numpy.array(["a", None], dtype=object), ["a", None]),
        ({1: "one", None: "none"}, {"1": "one", "null": "none"}),
        ({3, 1, 2}, [1, 2, 3]),
        (b"text", "text"),
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (2**70, 2**70),
        ([2**70, numpy.float64(1.5)], [2**70, 1.5]),
        (None, None),
    ],
)
def test_what_json_has_a_form_for(value, expected):
    assert json.loads(to_json(value)) == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([1.0, float("nan")], r"nan at \[1\]"),
        ({"a": {"b": numpy.array([1.0, numpy.inf])}}, r"inf at a\.b\[1\]"),
        (b"\xff\xfe", "bytes that are no text"),
        (object(), "a value of the type object"),
        ((one for one in [1]), "a value of the type generator"),
        ("\ud800", "surrogates"),
    ],
)
def test_what_it_has_none_for_is_named(value, told):
    with pytest.raises(ModelError, match=told):
        to_json(value)


def test_what_goes_round_in_circles():
    value = []
    value.append(value)
    with pytest.raises(ModelError, match="ecursion"):
        to_json(value)


def test_tables():
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2026-01-31", None])
    table = pandas.DataFrame({"n": [1, 2], "m": [0.5, None], "t": times, "s": ["a", None]}, index=[7, 8])
    first, second = json.loads(to_json(table))
    assert first == {"n": 1, "m": 0.5, "t": "2026-01-31T00:00:00", "s": "a"}
    assert second == {"n": 2, "m": None, "t": None, "s": None}
    assert json.loads(to_json(table["n"])) == [1, 2]
    assert b"NaN" in to_json(table, nan=True)


def test_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    assert json.loads(to_json(sparse.eye(2).tocsr())) == [[1.0, 0.0], [0.0, 1.0]]
