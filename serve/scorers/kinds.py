"""The kind of a deployment -> the application of its instance. Imports happen here: each has what it needs, no more."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from typing import Any, Protocol

from promptflow.workspace.optional import need
from serve.endpoints.spec import FLOW, LLM, MODEL, SCRIPT, Spec
from serve.scorers.app import ScorerApp
from serve.scorers.base import LoadError

ENDPOINT = "PF_ENDPOINT_NAME"  # a variable: what clients of an LLM call it


class Application(Protocol):
    """An ASGI application. ``prepare``, then ``open`` are called once, before anybody asks: the first before there is
    an event loop, which code of users may want for itself. LoadError says what is missing."""

    def prepare(self) -> None: ...

    async def open(self) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def close(self) -> None: ...


def application(spec: Spec, deployment: str) -> Application:
    if spec.kind == SCRIPT:
        from serve.scorers.script import SHIMS, ScriptScorer

        sys.path.append(str(SHIMS))  # last: packages of the same name that are installed come first
        if spec.collector is not None:
            _collect(spec)
        assert spec.code is not None
        scorer = ScriptScorer(spec.code, spec.scoring_script, gc.freeze)
        return ScorerApp(scorer, spec.request.concurrency)
    if spec.kind == MODEL:
        need("numpy", extra="ml")
        from serve.scorers.batched import BatchedApp
        from serve.scorers.batching import Batching
        from serve.scorers.model import ModelScorer
        from serve.scorers.models.base import Loading

        assert spec.model_path is not None
        model = ModelScorer(deployment or "model", Loading(spec.model_path, spec.allow_pickle, spec.options))
        batching = Batching.of(spec.options)
        return BatchedApp(model, batching) if batching else ScorerApp(model, spec.request.concurrency)
    if spec.kind == FLOW:
        from serve.scorers.flow import FlowApp

        return FlowApp(spec)
    if spec.kind == LLM:
        from serve.scorers.llm import LlmApp

        return LlmApp(spec, os.environ.get(ENDPOINT, "") or deployment)
    raise LoadError(f"Deployments of the kind '{spec.kind}' cannot be run by this version.")


def _collect(spec: Spec) -> None:
    """Have what the script collects written, if it is our module that it will import."""
    from serve.scorers.collecting import Collecting

    monitoring: Any = importlib.import_module("azureml.ai.monitoring")
    collecting = Collecting.of(spec, os.environ)
    if hasattr(monitoring, "sink") and collecting is not None:
        monitoring.sink = collecting.keep
        atexit.register(collecting.flush)
