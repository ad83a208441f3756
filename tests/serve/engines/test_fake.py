from __future__ import annotations

import pytest

from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines import builtin_models, open_engine
from tests.serve.engines.asking import ask, chat, plain, text_of


def test_echo_answers_with_the_last_message() -> None:
    said = ask(open_engine("fake/echo"), chat("good morning to you"))
    assert text_of(said) == "good morning to you"
    assert (said[-1].finish, said[-1].completion_tokens) == ("stop", 4)


def test_echo_obeys_max_tokens_and_stop() -> None:
    engine = open_engine("fake/echo")
    short, stopped = ask(engine, plain("a b c d", max_tokens=2)), ask(engine, plain("a b c d", stop=("c",)))
    assert (text_of(short), short[-1].finish) == ("a b", "length")
    assert (text_of(stopped), stopped[-1].finish) == ("a b ", "stop")


def test_an_engine_without_embeddings_says_so() -> None:
    import asyncio

    with pytest.raises(UserErrorException, match="makes no embeddings"):
        asyncio.run(open_engine("fake/echo").embed(["x"]))


@pytest.mark.parametrize("model", ["builtin/none", "/no/such/folder", "intent-mini"])
def test_an_unknown_model_is_refused_with_the_names_of_ours(model: str) -> None:
    with pytest.raises(ValidationException, match=model) as refused:
        open_engine(model)
    assert "builtin/intent-mini" in refused.value.hint


def test_the_embedded_model_is_among_the_builtin_ones() -> None:
    assert "builtin/intent-mini" in builtin_models()
