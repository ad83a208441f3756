"""One call to a model: sent, retried, adapted to what the model refuses, and recorded as a span."""

from __future__ import annotations

from typing import Any

from promptflow.exceptions import WrappedOpenAIError
from promptflow.llm import transport
from promptflow.llm.background import stream_loop
from promptflow.llm.chat_parameters import after_refusal, for_model
from promptflow.llm.endpoints import Endpoint, endpoint
from promptflow.llm.failures import Failure, user_error
from promptflow.llm.response import ApiObject, ChatCompletion, ChatCompletionChunk, Completion
from promptflow.llm.streams import ChunkStream
from promptflow.tracing.spans import Span, span

CHAT = "chat/completions"
COMPLETION = "completions"
EMBEDDINGS = "embeddings"

_SPAN_NAMES = {CHAT: "openai_chat", COMPLETION: "openai_completion", EMBEDDINGS: "openai_embeddings"}
_ANSWERS: dict[str, type[ApiObject]] = {CHAT: ChatCompletion, COMPLETION: Completion}
_CHUNKS: dict[str, type[ApiObject]] = {CHAT: ChatCompletionChunk, COMPLETION: Completion}

# What servers refused so far: a deployment's name does not tell its model, and asking twice each time is slow.
_refusals: dict[tuple[str, str], list[str]] = {}
_MAX_REFUSALS = 1000


async def ask(
    connection: Any,
    route: str,
    model: str,
    body: dict[str, Any],
    *,
    timeout: float | None = None,
    headers: dict[str, str] | None = None,
) -> ApiObject | ChunkStream:
    """The answer to ``body``: an object, or its chunks where the body asks for a stream."""
    target = await endpoint(connection, route, model)
    target.headers.update(headers or {})
    body = for_model(model, {"model": model, **body})
    with llm_span(route, body) as call:
        if body.get("stream"):
            chunks = await stream_loop().call(_open(target, route, body, timeout, call))
            call.keep_open()
            return chunks
        answer = await _adapting(target, body, timeout)
        _check(target, route, answer)
        record_answer(call, route, answer)
        return _ANSWERS[route](answer)


async def _adapting(target: Endpoint, body: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    body = _as_learned(target, body)
    while True:
        try:
            return await transport.post(target, body, timeout=timeout)
        except WrappedOpenAIError as error:
            body = _adapted(target, body, error)


async def _open(target: Endpoint, route: str, body: dict[str, Any], timeout: float | None, call: Span) -> ChunkStream:
    body = _as_learned(target, body)
    while True:
        try:
            events = await transport.open_stream(target, body, timeout=timeout)
        except WrappedOpenAIError as error:
            body = _adapted(target, body, error)
        else:
            return ChunkStream(events, _CHUNKS[route], call)


def _check(target: Endpoint, route: str, answer: dict[str, Any]) -> None:
    """Raise WrappedOpenAIError for JSON that is no answer: a proxy's error with status 200, another API's."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(choice, dict) and (isinstance(choice.get("message"), dict) if route == CHAT else "text" in choice):
        return
    shown = target.hide(str(answer))
    shown = shown if len(shown) <= 200 else shown[:200] + "…"
    raise user_error(
        Failure("APIResponseValidationError", f"The model's server answered without a text in choices: {shown}")
    )


def _adapted(target: Endpoint, body: dict[str, Any], error: WrappedOpenAIError) -> dict[str, Any]:
    """The body to send after a refusal; raises ``error`` where there is none. Each one lacks a parameter more."""
    changed = after_refusal(body, error.message) if error.status_code == 400 else None
    if changed is None:
        raise error
    if len(_refusals) < _MAX_REFUSALS:
        _refusals.setdefault((target.url, body["model"]), []).append(error.message)
    return changed


def _as_learned(target: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    for message in _refusals.get((target.url, body["model"]), ()):
        body = after_refusal(body, message) or body
    return body


def llm_span(route: str, body: dict[str, Any]) -> Span:
    name = _SPAN_NAMES[route]
    kind = "Embedding" if route == EMBEDDINGS else "LLM"
    return span(name, kind, inputs=body, attributes={"function": name})


def record_answer(call: Span, route: str, answer: dict[str, Any]) -> None:
    """What a span keeps of an answer: output, model, tokens, message."""
    call.set_output(answer)
    if answer.get("model"):
        call.set_attribute("llm.response.model", str(answer["model"]))
    if isinstance(answer.get("usage"), dict):
        call.set_usage(answer["usage"])
    choices = answer.get("choices") or []
    if choices:
        message = choices[0].get("message") if route == CHAT else choices[0].get("text")
        call.add_event("promptflow.llm.generated_message", message)
