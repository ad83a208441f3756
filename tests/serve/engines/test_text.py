from __future__ import annotations

from typing import Any

import pytest

from serve.engines.text import Speaker, StopWatch

tokenizers = pytest.importorskip("tokenizers")


def bytes_tokenizer() -> Any:
    """One token per byte, so that a character of several bytes comes in parts."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({char: at for at, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


@pytest.mark.parametrize("text", ["plain words", "größer", "日本語 text", "a 🙂 b", "  two  spaces "])
def test_text_spoken_token_by_token_is_the_whole_text(text: str) -> None:
    tokenizer = bytes_tokenizer()
    speaker = Speaker(tokenizer)
    parts = [speaker.push(token) for token in tokenizer.encode(text).ids]
    assert "".join(parts) == text
    assert not any("\ufffd" in part for part in parts)


@pytest.mark.parametrize(
    ("stops", "parts", "said", "stopped"),
    [
        ((), ["one", " two"], "one two", False),
        (("two",), ["one ", "two", " three"], "one ", True),
        (("END",), ["text E", "ND more"], "text ", True),
        (("END",), ["text E", "VEN more"], "text EVEN more", False),
        (("b", "ab"), ["xab"], "x", True),
        (("\n\n",), ["line\n", "next\n"], "line\nnext\n", False),
        (("",), ["an empty stop is none"], "an empty stop is none", False),
    ],
)
def test_nothing_is_said_past_a_stop_string(stops: tuple[str, ...], parts: list[str], said: str, stopped: bool) -> None:
    watch = StopWatch(stops)
    out = ""
    for part in parts:
        out += watch.push(part)
        if watch.stopped:
            break
    assert (out + watch.rest(), watch.stopped) == (said, stopped)


def test_text_that_may_become_a_stop_string_waits() -> None:
    watch = StopWatch(("###",))
    assert watch.push("answer ##") == "answer "
    assert watch.push("x") == "##x"
