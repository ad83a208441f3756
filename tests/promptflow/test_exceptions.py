"""What errors say."""

from __future__ import annotations

import pytest

from promptflow.exceptions import UserErrorException
from promptflow.workspace.http_server import listen


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("It is not found..", "It is not found."),
        ("It is not found.", "It is not found."),
        ("a, b, ...", "a, b, ..."),
        ("No", "No"),
    ],
)
def test_an_error_ends_with_one_full_stop(given: str, told: str) -> None:
    error = UserErrorException(given)
    assert (error.message, str(error)) == (told, told)


def test_a_port_that_there_is_not_is_told_with_one_full_stop() -> None:
    with pytest.raises(UserErrorException, match=r"65535\.$"):
        listen("127.0.0.1", 70_000)
