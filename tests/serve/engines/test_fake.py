from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from promptflow.exceptions import UserErrorException, ValidationException
from serve.engines import builtin_models, open_engine
from serve.engines.base import Engine, Request
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


def test_an_engine_without_embeddings_says_so(intent_mini: Engine) -> None:
    with pytest.raises(UserErrorException, match="makes no embeddings"):
        asyncio.run(intent_mini.embed(["x"]))


def test_echo_calls_the_tool_it_is_told_to_and_speaks_json() -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    asked = Request(messages=[{"role": "user", "content": '{"at": 1}'}], tools=[tool], tool_choice="look")
    (piece,) = ask(open_engine("fake/echo"), asked)
    assert (piece.tool_calls[0].name, piece.tool_calls[0].arguments, piece.finish) == (
        "look",
        '{"at": 1}',
        "tool_calls",
    )
    assert text_of(ask(open_engine("fake/echo"), plain("so", json=True))) == '{"text": "so"}'


def test_echo_ranks_by_words_in_common_and_gives_equal_texts_equal_vectors() -> None:
    engine = open_engine("fake/echo")
    assert asyncio.run(engine.rerank("a red fox", ["a dog", "the red fox"])).scores == [1 / 3, 2 / 3]
    one, two, three = asyncio.run(engine.embed(["x", "x", "y"])).vectors
    assert one == two != three


@pytest.mark.parametrize("model", ["builtin/none", "/no/such/folder", "intent-mini"])
def test_an_unknown_model_is_refused_with_the_names_of_ours(model: str) -> None:
    with pytest.raises(ValidationException, match=model) as refused:
        open_engine(model)
    assert "builtin/intent-mini" in refused.value.hint


def test_the_embedded_model_is_among_the_builtin_ones() -> None:
    assert "builtin/intent-mini" in builtin_models()


def test_a_server_of_echoes_loads_nothing_heavy() -> None:
    modules = "serve.engines.server, serve.engines.fake, serve.openai.app, serve.fitted"
    heavy = ("numpy", "sqlalchemy", "torch", "transformers", "onnxruntime", "huggingface_hub")
    code = f"import sys, {modules}; print(*sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
