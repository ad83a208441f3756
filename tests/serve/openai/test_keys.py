"""API keys and their limits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException
from serve.openai.errors import ApiError
from serve.openai.keys import Account, Bucket, Key, Keys, Limit, read_keys
from tests.serve.openai.serving import Scripted, app_of, running, said

SECRET = "sk-one-of-them"


def header(name: str, value: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), (name.encode(), value.encode())]


def test_a_key_comes_as_a_bearer_or_as_azures_header() -> None:
    keys = Keys([Key.of("one", SECRET), Key.of("two", "sk-another-one")])
    for headers in (header("authorization", f"Bearer {SECRET}"), header("api-key", SECRET)):
        found = keys.find(headers)
        assert found is not None and found.key.name == "one"
    for wrong in ("", "Bearer ", f"Bearer {SECRET}x", SECRET, "Basic abc", "Bearer sk-ünïcode"):
        assert keys.find(header("authorization", wrong)) is None
    assert keys.find([]) is None
    assert Keys().find([]) is not None


def test_a_bucket_fills_up_evenly() -> None:
    now = [0.0]
    bucket = Bucket(60, lambda: now[0])
    bucket.take(60)
    assert bucket.wait(1) == 1.0
    now[0] = 2.5
    assert (bucket.wait(1), bucket.left()) == (0.0, 2.5)
    now[0] = 1000
    assert bucket.left() == 60


def test_each_limit_refuses_with_the_time_to_wait() -> None:
    now = [0.0]
    account = Account(Key("k", b"", Limit(2, 100, 1)), lambda: now[0])
    account.begin()
    with pytest.raises(ApiError, match="1 at once") as refused:
        account.begin()
    assert (refused.value.http_status, refused.value.code) == (429, "rate_limit_exceeded")
    account.end(350)
    with pytest.raises(ApiError, match="100 tokens per minute; come again in 150.6 s") as refused:
        account.begin()
    assert refused.value.headers["retry-after"] == "151"
    now[0] = 151
    account.begin()
    account.end(0)
    account.begin()
    account.end(0)
    with pytest.raises(ApiError, match="2 requests per minute"):
        account.begin()


def test_over_http_limits_are_told_and_kept() -> None:
    openai = pytest.importorskip("openai")
    keys = Keys([Key.of("slow", SECRET, Limit(requests_per_minute=2)), Key.of("free", "sk-free-of-limits")])
    asked: dict[str, Any] = {"model": "scripted", "messages": [{"role": "user", "content": "x"}]}
    with running(app_of(Scripted(said("hello")), keys=keys)) as url:
        slow, free, none = (
            openai.OpenAI(base_url=url, api_key=key, max_retries=0) for key in (SECRET, "sk-free-of-limits", "wrong")
        )
        with slow, free, none:
            first = slow.chat.completions.with_raw_response.create(**asked)
            assert first.headers["x-ratelimit-remaining-requests"] == "1"
            slow.chat.completions.create(**asked)
            with pytest.raises(openai.RateLimitError) as refused:
                slow.chat.completions.create(**asked)
            assert 0 < int(refused.value.response.headers["retry-after"]) <= 31
            free.chat.completions.create(**asked)
            for call in (lambda: none.chat.completions.create(**asked), lambda: none.models.list()):
                with pytest.raises(openai.AuthenticationError):
                    call()


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    file.write_text(f"- {{name: a, sha256: {digest}}}\n- {{name: b, key: sk-in-clear, concurrent: 2}}\n")
    one, two = read_keys(file, Limit(requests_per_minute=5))
    assert (one, two) == (Key.of("a", SECRET, Limit(5)), Key.of("b", "sk-in-clear", Limit(5, 0, 2)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: b",
        "- a",
        "- {name: a}",
        "- {name: a, key: short}",
        "- {name: a, sha256: zz}",
        "- {name: a, key: long-enough, sha256: ab}",
        "- {name: a, key: long-enough, cost: 1}",
        "- {name: a, key: long-enough, concurrent: many}",
        "- {name: a, key: long-enough}\n- {name: a, key: long-enough-too}",
        "- {name: a, key: long-enough}\n- {name: b, key: long-enough}",
        "{",
    ],
)
def test_a_file_of_keys_that_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ValidationException):
        read_keys(tmp_path / "keys.yaml")
