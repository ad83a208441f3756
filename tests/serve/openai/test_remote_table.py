"""The whole table of the real client once more, with a server of ours in between that has every model from the other."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serve.engines import open_engine
from serve.openai.app import OpenAIApp
from serve.router import Adapter, Router, Served
from tests.serve.openai.serving import running
from tests.serve.openai.test_client_table import (  # noqa: F401 - run here once more, with the client below
    test_an_adapter_answers_by_its_name,
    test_chat,
    test_chat_streamed,
    test_completions,
    test_what_a_model_cannot_do_is_a_bad_request,
)
from tests.serve.openai.test_responses import test_a_response, test_its_events  # noqa: F401
from tests.serve.openai.test_vectors import (  # noqa: F401
    test_a_chat_model_ranks_nothing,
    test_documents_are_ranked,
    test_embeddings_come_as_the_client_asks_for_them,
    test_every_way_of_input,
    test_real_models_embed_and_rank,
    test_what_cannot_be_embedded,
)

MODELS = ("fake/echo", "builtin/intent-mini", "llama", "bert", "ranker")


@pytest.fixture(scope="module")
def far(url: str, models: Path) -> Iterator[str]:
    def remote(name: str) -> Served:
        names = {"lora": "llama@lora"} if name == "llama" else {}
        make = partial(open_engine, name, "remote", base_url=url, adapters=names)
        return Served(name, make, adapters={one: Adapter(models / one) for one in names})

    with running(OpenAIApp(Router([remote(name) for name in MODELS]))) as address:
        yield address


@pytest.fixture(scope="module")
def client(far: str) -> Iterator[Any]:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=far, api_key="any", max_retries=0, timeout=60) as one:
        yield one
