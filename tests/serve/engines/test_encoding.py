"""Embeddings and ranking on tiny real models, against what transformers itself makes of the same texts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptflow.exceptions import ValidationException
from serve.engines import open_engine
from serve.engines.base import Engine, EngineClosedError, PromptTooLongError, UnsupportedError
from tests import tiny_models
from tests.serve.engines.asking import ask, plain

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from serve.engines.encoding import batches  # noqa: E402

TEXTS = ["the quick brown fox", "a customer asks about a parcel", "yes", "wizards brew potions " * 8]


@pytest.fixture(scope="module")
def bert(models: Path) -> Iterator[Engine]:
    engine = open_engine("bert", folder=models / "bert", device="cpu")
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def ranker(models: Path) -> Iterator[Engine]:
    engine = open_engine("ranker", folder=models / "ranker", device="cpu")
    engine.load()
    yield engine
    engine.unload()


def hidden(folder: Path, text: str, kind: str = "AutoModel") -> Any:
    transformers.utils.logging.disable_progress_bar()
    model = getattr(transformers, kind).from_pretrained(folder)
    with torch.no_grad():
        return model(**transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")).last_hidden_state[
            0
        ]


def embedded(engine: Engine, texts: list[Any]) -> Any:
    return np.array(asyncio.run(engine.embed(texts)).vectors)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_vectors_are_pooled_as_the_models_files_say(pooling: str, tmp_path: Path) -> None:
    folder = tiny_models.encoder(tmp_path / pooling, pooling=pooling)
    engine = open_engine(pooling, folder=folder, device="cpu")
    engine.load()
    vectors = embedded(engine, TEXTS)
    engine.unload()
    pools = {
        "mean": lambda rows: rows.mean(0),
        "cls": lambda rows: rows[0],
        "max": lambda rows: rows.max(0).values,
        "last": lambda rows: rows[-1],
    }
    expected = [torch.nn.functional.normalize(pools[pooling](hidden(folder, text)), dim=0).numpy() for text in TEXTS]
    assert np.allclose(vectors, expected, atol=1e-5)


def test_tokens_are_counted_and_may_be_given(bert: Engine) -> None:
    result = asyncio.run(bert.embed(["yes no"]))
    ids = transformers.AutoTokenizer.from_pretrained(bert.folder)("yes no")["input_ids"]  # type: ignore[attr-defined]
    assert result.prompt_tokens == len(ids) and len(result.vectors[0]) == tiny_models.HIDDEN
    assert np.allclose(embedded(bert, [ids]), result.vectors, atol=1e-6)
    with pytest.raises(ValidationException, match="token 99999"):
        embedded(bert, [[99999]])


def test_a_decoder_that_was_trained_to_embed(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    tiny_models.decoder(folder, "qwen3")
    kind = "sentence_transformers.models"
    (folder / "modules.json").write_text(
        json.dumps([{"path": "", "type": f"{kind}.Transformer"}, {"path": "pool", "type": f"{kind}.Pooling"}])
    )
    (folder / "pool").mkdir()
    (folder / "pool" / "config.json").write_text(json.dumps({"pooling_mode_lasttoken": True}))
    prompts = {"prompts": {"query": "user: ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    engine = open_engine("embedder", folder=folder, device="cpu")
    engine.load()
    vectors = embedded(engine, TEXTS)
    scores = asyncio.run(engine.rerank("fox", TEXTS[:2])).scores
    engine.unload()
    expected = np.array([hidden(folder, text)[-1].numpy() for text in TEXTS])
    assert np.allclose(vectors, expected, atol=1e-4)
    query = hidden(folder, "user: fox")[-1].numpy()
    angles = expected[:2] @ query / np.linalg.norm(expected[:2], axis=1) / np.linalg.norm(query)
    assert scores == pytest.approx(angles.tolist(), abs=1e-4)


def test_a_cross_encoder_ranks(ranker: Engine, models: Path) -> None:
    scores = asyncio.run(ranker.rerank("fox", TEXTS))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(models / "ranker")
    tokenizer = transformers.AutoTokenizer.from_pretrained(models / "ranker")
    with torch.no_grad():
        logits = [model(**tokenizer("fox", text, return_tensors="pt")).logits for text in TEXTS]
    assert scores.scores == pytest.approx([torch.sigmoid(one).item() for one in logits], abs=1e-5)
    assert scores.prompt_tokens == sum(len(tokenizer("fox", text)["input_ids"]) for text in TEXTS)
    assert asyncio.run(ranker.rerank("fox", [])).scores == []


def test_what_a_model_does_not_do(bert: Engine, ranker: Engine, llama: Engine) -> None:
    with pytest.raises(UnsupportedError, match="writes no text"):
        ask(bert, plain("x"))
    with pytest.raises(UnsupportedError, match="makes no embeddings"):
        embedded(ranker, ["x"])
    with pytest.raises(UnsupportedError, match="makes no embeddings"):
        embedded(llama, ["x"])
    with pytest.raises(UnsupportedError, match="does not rank"):
        asyncio.run(llama.rerank("x", ["y"]))
    assert (bert.tasks, ranker.tasks, llama.tasks) == ({"embed", "rerank"}, {"rerank"}, {"generate"})


def test_texts_that_do_not_fit(bert: Engine) -> None:
    with pytest.raises(PromptTooLongError, match="reads 128"):
        embedded(bert, ["fox " * 200])
    with pytest.raises(ValidationException, match="nothing"):
        embedded(bert, [[]])


def test_many_callers_at_once_and_unloading(models: Path) -> None:
    engine = open_engine("bert", folder=models / "bert", device="cpu")
    engine.load()

    async def many() -> list[Any]:
        return await asyncio.gather(*(engine.embed([f"fox {number}"]) for number in range(50)))

    assert len(asyncio.run(many())) == 50
    stats = engine.stats()
    assert (stats.finished, stats.running, stats.waiting) == (50, 0, 0) and stats.weights_bytes > 100_000

    async def unloaded() -> list[Any]:
        waiting = [asyncio.ensure_future(engine.embed(TEXTS * 64)) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.to_thread(engine.unload)
        return await asyncio.gather(*waiting, return_exceptions=True)

    outcomes = asyncio.run(unloaded())
    assert any(isinstance(one, EngineClosedError) for one in outcomes[1:])
    with pytest.raises(EngineClosedError):
        embedded(engine, ["x"])


def test_a_module_that_is_not_run_here_is_named(tmp_path: Path) -> None:
    folder = tiny_models.encoder(tmp_path / "dense")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"path": "3_Dense", "type": "x.Dense"}]))
    with pytest.raises(UnsupportedError, match="'Dense'"):
        open_engine("dense", folder=folder, device="cpu").load()


def test_batches_are_of_like_length_and_bounded() -> None:
    lengths = [5, 8000, 3, 4000, 4000, 1]
    found = list(batches(lengths))
    assert sorted(place for batch in found for place in batch) == list(range(6))
    assert found[0] == [5, 2, 0] and all(len(batch) * max(lengths[at] for at in batch) <= 8192 for batch in found)
