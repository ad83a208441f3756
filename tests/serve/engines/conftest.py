"""Engines that are loaded once for all tests, and tiny models made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve.engines import open_engine
from serve.engines.base import Engine
from tests import tiny_models


@pytest.fixture(scope="session")
def intent_mini() -> Iterator[Engine]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    engine = open_engine("builtin/intent-mini")
    engine.load()
    yield engine
    engine.unload()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with llama, qwen3, bert, ranker, and the adapters one (of few layers) and two (of all) of the llama."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny_models.decoder(folder / "llama")
    tiny_models.decoder(folder / "qwen3", "qwen3")
    tiny_models.encoder(folder / "bert")
    tiny_models.ranker(folder / "ranker")
    tiny_models.adapter(folder / "one", base)
    everything = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    tiny_models.adapter(folder / "two", base, seed=5, rank=8, targets=everything)
    return folder


@pytest.fixture(scope="session")
def llama(models: Path) -> Iterator[Engine]:
    """The tiny llama in the torch engine, with the adapters one and two."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    engine = open_engine("llama", folder=models / "llama", device="cpu", dtype="float32")
    engine.load()
    for name in ("one", "two"):
        engine.load_adapter(name, models / name)
    yield engine
    engine.unload()
