"""Calls that user code makes with the ``openai`` SDK and with LangChain become spans.

Neither is imported from here: their modules are patched when they are imported, or now if they are already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from promptflow.tracing.decorate import traced
from promptflow.tracing.on_import import forget, when_imported
from promptflow.tracing.responses import record_answer
from promptflow.tracing.spans import Span
from promptflow.tracing.streams import TracedAsyncIterator, TracedIterator

_IGNORED = ("self", "api_key", "headers", "extra_headers")

# Module -> (class, method, kind, span name). The async classes' methods return coroutines without saying so.
_METHODS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "openai.resources.chat.completions.completions": (
        ("Completions", "create", "LLM", "openai_chat"),
        ("AsyncCompletions", "create", "LLM", "openai_chat_async"),
        ("Completions", "parse", "LLM", "openai_chat"),
        ("AsyncCompletions", "parse", "LLM", "openai_chat_async"),
    ),
    "openai.resources.completions": (
        ("Completions", "create", "LLM", "openai_completion"),
        ("AsyncCompletions", "create", "LLM", "openai_completion_async"),
    ),
    "openai.resources.embeddings": (
        ("Embeddings", "create", "Embedding", "openai_embeddings"),
        ("AsyncEmbeddings", "create", "Embedding", "openai_embeddings_async"),
    ),
    "openai.resources.responses.responses": (
        ("Responses", "create", "LLM", "openai_responses"),
        ("AsyncResponses", "create", "LLM", "openai_responses_async"),
    ),
}


_LANGCHAIN = "langchain_core.callbacks.manager"


def inject() -> None:
    """Patch them, now or when they are imported. Doing it again does nothing."""
    for name in (*_METHODS, _LANGCHAIN):
        when_imported(name, _patch)


def recover() -> None:
    """Undo :func:`inject`."""
    forget(_patch)
    for module_name, methods in _METHODS.items():
        for class_name, method, _, _ in methods:
            cls = getattr(sys.modules.get(module_name), class_name, None)
            original = getattr(getattr(cls, method, None), "_original", None)
            if original is not None:
                setattr(cls, method, original)


def _patch(module: ModuleType) -> None:
    if module.__name__ == _LANGCHAIN:
        # By name: integrations stand above tracing.
        importlib.import_module("promptflow.integrations.langchain.callbacks").trace_langchain()
        return
    for class_name, method, kind, span_name in _METHODS[module.__name__]:
        cls = getattr(module, class_name, None)
        original = getattr(cls, method, None)
        if original is not None and not hasattr(original, "_original"):
            setattr(cls, method, _with_span(original, kind, span_name, class_name.startswith("Async")))


def _with_span(original: Callable[..., Any], kind: str, name: str, is_async: bool) -> Any:
    wrapper = traced(
        original, name=name, kind=kind, ignore=_IGNORED, record=record_answer, is_async=is_async, hold=_hold
    )
    wrapper._original = original
    return wrapper


def _hold(span: Span, output: Any) -> Any:
    """A stream of the SDK stays one (users ask for its class and its response): what it reads from is traced."""
    inner = getattr(output, "_iterator", None)
    if inner is None or not (hasattr(output, "__next__") or hasattr(output, "__anext__")):
        return None
    span.keep_open()
    proxy = TracedAsyncIterator if hasattr(inner, "__anext__") else TracedIterator
    output._iterator = proxy(inner, span, record_answer)
    return output
