"""Shares of traffic, as people write them."""

from __future__ import annotations

import pytest

from promptflow.exceptions import ValidationException
from serve.endpoints.traffic import parse_traffic


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("blue=90 green=10", {"blue": 90, "green": 10}),
        ("blue=90,green=10", {"blue": 90, "green": 10}),
        (" blue=90%,  green=10% ", {"blue": 90, "green": 10}),
        ("blue=100", {"blue": 100}),
        ("blue=0", {"blue": 0}),
        ("", {}),
    ],
)
def test_shares(text: str, shares: dict[str, int]) -> None:
    assert parse_traffic(text) == shares


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("blue", "'blue' is no share"),
        ("blue=", "'blue=' is no share"),
        ("=5", "'=5' is no share"),
        ("blue=half", "from 0 to 100"),
        ("blue=101", "from 0 to 100"),
        ("blue=-1", "from 0 to 100"),
        ("blue=1.5", "from 0 to 100"),
        ("blue=1 blue=99", "given twice"),
    ],
)
def test_what_is_no_share(text: str, said: str) -> None:
    with pytest.raises(ValidationException, match=said):
        parse_traffic(text)
