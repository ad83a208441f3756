from __future__ import annotations

import logging
import sys
import types

import pytest

from promptflow.llm.tokens import count_tokens

MESSAGES = [{"role": "user", "name": "bob", "content": "12345678"}]


class Encoding:
    """Counts words, where the real one would count tokens."""

    @staticmethod
    def encode(text: str, **_: object) -> list[str]:
        return text.split()


@pytest.fixture
def without_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)


def test_without_tiktoken_four_bytes_are_a_token(without_tiktoken: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert count_tokens("12345678", "m") == 2
        assert count_tokens("é" * 4, "m") == 2
        assert count_tokens(MESSAGES, "m") == 3 + 1 + 1 + 1 + 2 + 3
    assert "estimated" in caplog.text


def test_images_have_a_fixed_price(without_tiktoken: None) -> None:
    parts = [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:…"}}]
    assert count_tokens([{"role": "user", "content": parts}], "m") == 3 + 1 + 1 + 765 + 3


def test_with_tiktoken_its_count_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(model: str) -> Encoding:
        raise KeyError(model)

    tiktoken = types.ModuleType("tiktoken")
    tiktoken.encoding_for_model = unknown  # type: ignore[attr-defined]
    tiktoken.get_encoding = lambda name: Encoding()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", tiktoken)
    assert count_tokens("one two", "m") == 2


def test_tables_that_cannot_be_downloaded_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(model: str) -> Encoding:
        raise ConnectionError("no network")

    tiktoken = types.ModuleType("tiktoken")
    tiktoken.encoding_for_model = offline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tiktoken", tiktoken)
    assert count_tokens("12345678", "m") == 2
