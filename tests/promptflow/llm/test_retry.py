from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from promptflow.llm.failures import Failure, from_status, user_error
from promptflow.llm.retry import RetryPolicy, retry_after_seconds

BUSY = from_status(429, b"{}")


def test_waits_grow_up_to_a_minute() -> None:
    waits = [RetryPolicy().wait(BUSY, attempt, 0) or 0 for attempt in range(10)]
    assert [int(w) >= e for w, e in zip(waits, [3, 4, 6, 10, 18, 34, 60, 60, 60, 60], strict=True)] == [True] * 10
    assert all(w <= 75 for w in waits)


@pytest.mark.parametrize(
    ("failure", "attempt", "unprocessable", "again"),
    [
        (BUSY, 0, 0, True),
        (BUSY, 9, 0, True),
        (BUSY, 10, 0, False),
        (from_status(500, b""), 0, 0, True),
        (from_status(400, b""), 0, 0, False),
        (from_status(401, b""), 0, 0, False),
        (from_status(404, b""), 0, 0, False),
        (from_status(422, b""), 1, 2, True),
        (from_status(422, b""), 2, 3, False),
        (from_status(429, b'{"error": {"type": "insufficient_quota"}}'), 0, 0, False),
        (Failure("APITimeoutError", "Request timed out."), 0, 0, True),
        (Failure("APIConnectionError", "refused"), 0, 0, False),
        (Failure("APIConnectionError", "reset", dropped=True), 0, 0, True),
    ],
)
def test_only_what_may_pass_is_tried_again(failure: Failure, attempt: int, unprocessable: int, again: bool) -> None:
    assert (RetryPolicy().wait(failure, attempt, unprocessable) is not None) is again


def test_retry_after_is_honoured_and_bounded() -> None:
    assert RetryPolicy().wait(from_status(429, b"", "7"), 5, 0) == 7
    assert RetryPolicy().wait(from_status(503, b"", "0"), 0, 0) == 0
    assert RetryPolicy().wait(from_status(429, b"", "86400"), 0, 0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("2", 2), ("0.5", 0.5), ("-3", 0), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


def test_a_date_to_come_is_a_wait() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < (retry_after_seconds(format_datetime(later)) or 0) <= 100


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (422, "UnprocessableEntityError"),
        (429, "RateLimitError"),
        (503, "InternalServerError"),
        (418, "APIStatusError"),
    ],
)
def test_errors_have_the_names_of_openai(status: int, kind: str) -> None:
    error = user_error(from_status(status, b'{"error": {"message": "why"}}'))
    assert error.error_codes == ["UserError", "OpenAIError", kind]
    assert f"OpenAI API hits {kind}: Error code: {status} - why" in str(error)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "a"}}', "a"),
        (b'{"error": "b"}', "b"),
        (b'{"message": "c"}', "c"),
        (b'{"detail": [{"msg": "d"}]}', "d"),
        (b"<html>e</html>", "<html>e</html>"),
        (b"", "the server gave no reason"),
        (b"\xff\xfe", "Error code"),
        (b"[1]", "[1]"),
    ],
)
def test_the_reason_is_found_in_any_shape_of_body(body: bytes, words: str) -> None:
    assert words in from_status(500, body).message


def test_long_bodies_are_cut() -> None:
    assert len(from_status(500, b"x" * 60_000).message) < 2100


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Unrecognized request argument supplied: functions", "takes no functions"),
        ("Invalid content type. image_url is only supported by certain models", "vision"),
        ("messages with role 'tool' must be a response", "tool_call_id"),
    ],
)
def test_errors_that_say_little_carry_a_hint(words: str, advice: str) -> None:
    assert advice in user_error(Failure("BadRequestError", words, 400)).hint
