"""LangChain's callbacks -> spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar
from uuid import UUID

from langchain_core.callbacks.base import BaseCallbackHandler

from promptflow.tracing.payload import dumps
from promptflow.tracing.spans import Span, current_span, resumed, span

_registered: list[PromptFlowCallbackHandler] = []


class PromptFlowCallbackHandler(BaseCallbackHandler):
    """``chain.invoke(x, config={"callbacks": [PromptFlowCallbackHandler()]})`` makes every step a span.

    One handler serves any number of runs at once.
    """

    # In the caller's own context: what a step calls then finds its span.
    run_inline = True

    # Of all handlers together: a run that two of them hear of (one was passed, one is everywhere) is one span.
    _spans: ClassVar[dict[UUID, Span]] = {}

    @property
    def always_verbose(self) -> bool:
        return True

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._start(run_id, _name(serialized, kwargs, "Chain"), "LangChain", {"inputs": inputs}, kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, error)

    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **kwargs: Any) -> None:
        self._start(run_id, _name(serialized, kwargs, "LLM"), "LLM", {"prompts": prompts}, kwargs)

    def on_chat_model_start(self, serialized: Any, messages: list[list[Any]], *, run_id: UUID, **kwargs: Any) -> None:
        given = messages[0] if len(messages) == 1 else messages
        self._start(run_id, _name(serialized, kwargs, "LLM"), "LLM", {"messages": given}, kwargs)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        at = self._spans.get(run_id)
        if at is not None:
            _record_result(at, response)
        self._end(run_id, response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, error)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        given = kwargs.get("inputs") or {"input_str": input_str}
        self._start(run_id, _name(serialized, kwargs, "Tool"), "Tool", given, kwargs)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self._end(run_id, output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, error)

    def on_retriever_start(self, serialized: Any, query: str, *, run_id: UUID, **kwargs: Any) -> None:
        name = _name(serialized, kwargs, "Retriever")
        at = self._start(run_id, name, "Retrieval", {"query": query}, kwargs)
        if at is not None:
            at.set_attribute("retrieval.query", query)
            at.add_event("promptflow.retrieval.query", dumps(query))

    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **kwargs: Any) -> None:
        at = self._spans.get(run_id)
        if at is not None:
            shown = [_document(document) for document in documents]
            at.set_attribute("retrieval.documents", shown)
            at.add_event("promptflow.retrieval.documents", shown)
        self._end(run_id, documents)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self._fail(run_id, error)

    def _start(
        self, run_id: UUID, name: str, kind: str, inputs: Mapping[str, Any], kwargs: Mapping[str, Any]
    ) -> Span | None:
        if run_id in self._spans:
            return None
        parent = self._spans.get(kwargs.get("parent_run_id")) or self._outside()  # type: ignore[arg-type]
        attributes = {"function": name}
        metadata = {key: str(value) for key, value in (kwargs.get("metadata") or {}).items()}
        if metadata:
            attributes["langchain.metadata"] = dumps(metadata)
        # A step may run in a thread that does not know the span of its parent.
        with resumed(parent):
            at = span(name, kind, inputs=inputs, attributes=attributes).__enter__()
            at.keep_open()
        at.enter()
        self._spans[run_id] = at
        return at

    def _outside(self) -> Span | None:
        """The current span that is not of a handler: a batch starts its runs one after another, side by side."""
        own = set(map(id, self._spans.values()))
        at = current_span()
        while at is not None and id(at) in own:
            at = at.parent
        return at

    def _end(self, run_id: UUID, output: Any) -> None:
        at = self._spans.pop(run_id, None)
        if at is not None:
            at.set_output(_plain(output))
            at.leave()
            at.end()

    def _fail(self, run_id: UUID, error: BaseException) -> None:
        at = self._spans.pop(run_id, None)
        if at is not None:
            at.record_error(error)
            at.leave()
            at.end()


def trace_langchain() -> None:
    """Make every LangChain call of this process a span, without passing a handler. ``start_trace`` does it."""
    from langchain_core.tracers.context import register_configure_hook

    if not _registered:
        _registered.append(PromptFlowCallbackHandler())
        everywhere: ContextVar[Any] = ContextVar("promptflow_langchain", default=_registered[0])
        register_configure_hook(everywhere, inheritable=True)


def _name(serialized: Any, kwargs: Mapping[str, Any], default: str) -> str:
    """What LangChain calls the step; ``id`` is the path of its class."""
    if kwargs.get("name"):
        return str(kwargs["name"])
    known = serialized or {}
    path = known.get("id") or ()
    return str(known.get("name") or (path[-1] if path else default))


def _record_result(at: Span, response: Any) -> None:
    """Model, tokens and message of an LLMResult."""
    said = response.llm_output or {}
    model = said.get("model_name") or said.get("model")
    usage = said.get("token_usage") or {}
    generation = response.generations[0][0] if response.generations and response.generations[0] else None
    message = getattr(generation, "message", None)
    if message is not None:
        model = model or (message.response_metadata or {}).get("model_name")
        counts = getattr(message, "usage_metadata", None) or {}
        usage = usage or {
            "prompt_tokens": counts.get("input_tokens"),
            "completion_tokens": counts.get("output_tokens"),
            "total_tokens": counts.get("total_tokens"),
        }
    if model:
        at.set_attribute("llm.response.model", str(model))
    if at.tokens is None:  # else a traced SDK call inside has counted them
        at.set_usage({key: value for key, value in usage.items() if isinstance(value, int)})
    if generation is not None:
        shown = {"role": "assistant", "content": generation.text}
        at.set_attribute("llm.generated_message", shown)
        at.add_event("promptflow.llm.generated_message", shown)


def _document(document: Any) -> dict[str, Any]:
    metadata = dict(document.metadata or {})
    return {
        "document.id": getattr(document, "id", None) or metadata.get("id"),
        "document.content": document.page_content,
        "document.score": metadata.get("score"),
        "document.metadata": metadata,
    }


def _plain(output: Any) -> Any:
    """LangChain's objects as their data; without an addition of chunks, what there is."""
    return output.model_dump() if hasattr(output, "model_dump") else output
