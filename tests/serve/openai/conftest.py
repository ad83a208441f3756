"""One server with a model of each engine, asked through the real client."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serve.engines import open_engine
from serve.openai.app import OpenAIApp
from serve.router import Adapter, Router, Served
from tests import tiny_models
from tests.serve.openai.serving import running


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    base = tiny_models.decoder(folder / "llama")
    tiny_models.encoder(folder / "bert")
    tiny_models.ranker(folder / "ranker")
    tiny_models.adapter(folder / "lora", base)
    return folder


@pytest.fixture(scope="session")
def url(models: Path) -> Iterator[str]:
    def torch(name: str, kind: str = "transformers") -> Served:
        adapters = {"lora": Adapter(models / "lora")} if name == "llama" else {}
        options = {"device": "cpu", "dtype": "float32"}
        return Served(name, partial(open_engine, name, kind, models / name, **options), adapters=adapters)

    served = [
        Served("fake/echo", partial(open_engine, "fake/echo")),
        Served("builtin/intent-mini", partial(open_engine, "builtin/intent-mini")),
        torch("llama"),
        torch("bert"),
        torch("ranker"),
    ]
    with running(OpenAIApp(Router(served))) as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=60) as one:
        yield one


ENGINES = ("fake/echo", "builtin/intent-mini", "llama")


@pytest.fixture(params=ENGINES)
def model(request: pytest.FixtureRequest) -> str:
    """Every engine in turn that this installation can run."""
    name = str(request.param)
    if name.startswith("builtin/"):
        pytest.importorskip("onnxruntime")
    if name == "llama":
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
    return name
