"""What spans keep of the answers of models: usage, model, message, embeddings. Works on objects and on dicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promptflow.tracing.payload import dumps
from promptflow.tracing.spans import Span


def record_answer(span: Span, answer: Any) -> None:
    """``answer``: a chat completion, a completion, a response, embeddings, or the list of chunks of a stream."""
    if isinstance(answer, list):
        _record_chunks(span, answer)
        return
    _record_model_and_usage(span, answer)
    data = _get(answer, "data")
    choices = _get(answer, "choices")
    if span.kind == "Embedding" and isinstance(data, Sequence):
        _record_embeddings(span, answer, data)
    elif choices:
        _record_message(span, _get(choices[0], "message") or _get(choices[0], "text"))
    elif _get(answer, "output_text"):
        _record_message(span, {"role": "assistant", "content": _get(answer, "output_text")})


def _record_chunks(span: Span, chunks: Sequence[Any]) -> None:
    texts: list[str] = []
    role = "assistant"
    for chunk in chunks:
        # The last event of a streamed response holds the whole of it.
        whole = _get(chunk, "response")
        if whole is not None and _get(chunk, "type") == "response.completed":
            record_answer(span, whole)
        if _get(chunk, "model") or _get(chunk, "usage"):
            _record_model_and_usage(span, chunk)
        for choice in (_get(chunk, "choices") or ())[:1]:
            delta = _get(choice, "delta")
            role = _get(delta, "role") or role
            texts.append(_get(delta, "content") or _get(choice, "text") or "")
    if any(texts):
        _record_message(span, {"role": role, "content": "".join(texts)})


def _record_model_and_usage(span: Span, answer: Any) -> None:
    model, usage = _get(answer, "model"), _get(answer, "usage")
    if model:
        span.set_attribute("llm.response.model", str(model))
    if usage is None:
        return
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
    counts = {name: _get(usage, name) for name in names}
    counts["prompt_tokens"] = _first(counts["prompt_tokens"], counts.pop("input_tokens"))
    counts["completion_tokens"] = _first(counts["completion_tokens"], counts.pop("output_tokens"))
    span.set_usage({name: count for name, count in counts.items() if count is not None})


def _record_message(span: Span, message: Any) -> None:
    text = dumps(message)
    span.set_attribute("llm.generated_message", text)
    span.add_event("promptflow.llm.generated_message", text)


def _record_embeddings(span: Span, answer: Any, data: Sequence[Any]) -> None:
    """Texts and sizes; the vectors themselves would make a trace many times as large."""
    texts = (span.inputs or {}).get("input")
    single = isinstance(texts, str) or (isinstance(texts, list) and all(isinstance(part, int) for part in texts))
    given: Sequence[Any] = [texts] if single else texts if isinstance(texts, Sequence) else []
    shown = []
    for position, item in enumerate(data):
        vector = _get(item, "embedding")
        index = _get(item, "index")
        text = given[index] if isinstance(index, int) and index < len(given) else None
        shown.append(
            {
                "embedding.vector": f"<{len(vector) if vector is not None else 0} dimensional vector>",
                "embedding.text": text if isinstance(text, str) or text is None else f"<{len(text)} tokens>",
                "embedding.index": index if index is not None else position,
            }
        )
    span.set_attribute("embedding.embeddings", dumps(shown))
    span.add_event("promptflow.embedding.embeddings", shown)
    span.attributes["output"] = dumps({"model": _get(answer, "model"), "data": shown, "usage": _get(answer, "usage")})


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
