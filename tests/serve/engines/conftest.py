"""The embedded model, loaded once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serve.engines.base import Engine


@pytest.fixture(scope="session")
def intent_mini() -> Iterator[Engine]:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    from serve.engines import open_engine

    engine = open_engine("builtin/intent-mini")
    engine.load()
    yield engine
    engine.unload()
