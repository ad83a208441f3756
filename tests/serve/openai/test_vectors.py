"""Embeddings and ranking, asked through the real client."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from tests.serve.openai.test_client_table import checked

openai = pytest.importorskip("openai")


def test_embeddings_come_as_the_client_asks_for_them(client: Any) -> None:
    """By default the real client asks for base64, and unpacks it."""
    texts = ["one", "two", "one"]
    packed = checked(client.embeddings.create(model="fake/echo", input=texts))
    plain = client.embeddings.create(model="fake/echo", input=texts, encoding_format="float")
    assert [entry.index for entry in packed.data] == [0, 1, 2]
    assert packed.data[0].embedding == packed.data[2].embedding != packed.data[1].embedding
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding)
    assert packed.usage.prompt_tokens == 3


def test_base64_is_little_endian_float32(client: Any) -> None:
    asked = {"model": "fake/echo", "input": "one"}
    body = client.post("/embeddings", body={**asked, "encoding_format": "base64"}, cast_to=object)
    plain = client.post("/embeddings", body={**asked, "encoding_format": "float"}, cast_to=object)
    raw = base64.b64decode(body["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(plain["data"][0]["embedding"])


@pytest.mark.parametrize("given", ["text", ["a", "b"], [1, 2, 3], [[1, 2], [3]]], ids=str)
def test_every_way_of_input(client: Any, given: Any) -> None:
    count = 2 if given in (["a", "b"], [[1, 2], [3]]) else 1
    assert len(client.embeddings.create(model="fake/echo", input=given).data) == count


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": 5}, "input"),
        ({"dimensions": 3}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
        ({"model": "llama"}, None),
    ],
    ids=str,
)
def test_what_cannot_be_embedded(client: Any, change: dict[str, Any], param: str | None) -> None:
    if change.get("model") == "llama":
        pytest.importorskip("torch")
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**{"model": "fake/echo", "input": "x", **change})
    assert refused.value.param == param


def test_documents_are_ranked(client: Any) -> None:
    asked = {
        "model": "fake/echo",
        "query": "the red fox",
        "documents": ["a dog", {"text": "the red fox"}, "the cat"],
        "top_n": 2,
        "return_documents": True,
    }
    made = client.post("/rerank", body=asked, cast_to=object)
    assert [(entry["index"], entry["relevance_score"]) for entry in made["results"]] == [(1, 1.0), (2, 1 / 3)]
    assert made["results"][0]["document"] == {"text": "the red fox"}


def test_a_chat_model_ranks_nothing(client: Any) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(openai.BadRequestError, match="does not rank"):
        client.post("/rerank", body={"model": "builtin/intent-mini", "query": "x", "documents": ["y"]}, cast_to=object)


def test_real_models_embed_and_rank(client: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    texts = ["the quick brown fox", "a customer asks", "the quick brown fox"]
    made = checked(client.embeddings.create(model="bert", input=texts))
    one, two, three = (entry.embedding for entry in made.data)
    assert one == pytest.approx(three, abs=1e-5) and one != pytest.approx(two, abs=1e-3) and made.usage.prompt_tokens
    checked(client.embeddings.create(model="bert", input="x", dimensions=len(one)))
    asked = {"model": "ranker", "query": "invoices", "documents": texts[:2]}
    ranked = client.post("/rerank", body=asked, cast_to=object)["results"]
    assert sorted(entry["index"] for entry in ranked) == [0, 1]
    assert ranked[0]["relevance_score"] >= ranked[1]["relevance_score"]
    for call in (
        lambda: client.completions.create(model="bert", prompt="x"),
        lambda: client.responses.create(model="ranker", input="x"),
    ):
        with pytest.raises(openai.BadRequestError, match="generates no text"):
            call()
