"""The HTTP face of a scorer, as an ASGI application: ``/score`` and its kin, on threads that the scorer may block."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from promptflow.exceptions import PromptflowException
from serve.gateway.paths import error_style
from serve.gateway.refusals import Refusal, body_of
from serve.scorers.answers import to_json
from serve.scorers.base import JSON, Answer, Call, InputError, ModelError, Scorer

logger = logging.getLogger(__name__)

MAX_BODY = 512 * 1024 * 1024  # bytes; the gateway in front has the limit that the user sets
FAILED = {"ms-azureml-model-error-statuscode": "500", "ms-azureml-model-error-reason": "model_error"}


class ScorerApp:
    """Answers for one scorer, ``at_once`` requests at a time; the others wait in line, as long as their callers do."""

    def __init__(self, scorer: Scorer, at_once: int = 1) -> None:
        self.scorer = scorer
        self.threads = ThreadPoolExecutor(at_once, thread_name_prefix="score")
        self._free = asyncio.Semaphore(at_once)

    def prepare(self) -> None:
        self.scorer.load()

    async def open(self) -> None:
        pass

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            answer = await self._answered(scope, receive)
        except ConnectionResetError:
            return
        except Exception as error:
            answer = failure(error, scope["path"])
        await send_answer(answer, send)

    async def _answered(self, scope: Mapping[str, Any], receive: Any) -> Answer:
        path = scope["path"]
        if path == "/":
            return Answer(b"Healthy", media="text/plain")
        if path == "/swagger.json":
            version = 2 if b"version=2" in scope["query_string"] else 3
            return Answer(to_json(self.scorer.swagger(version)))
        return await self._scored(await call_of(scope, receive), receive)

    async def _scored(self, call: Call, receive: Any) -> Answer:
        if self._free.locked():  # by one that hangs, it may be: whoever gives up meanwhile is not scored for nobody
            await _unless_gone(self._free.acquire(), receive)
        else:
            await self._free.acquire()
        work = asyncio.get_running_loop().run_in_executor(self.threads, self.scorer.answer, call)
        work.add_done_callback(lambda _: self._free.release())  # not before: a thread cannot be ended
        return await asyncio.shield(work)

    async def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)


async def send_answer(answer: Answer, send: Any) -> None:
    start = [(b"content-type", answer.media.encode()), (b"content-length", str(len(answer.body)).encode())]
    start += [(name.encode("latin-1"), text.encode("latin-1")) for name, text in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": start})
    await send({"type": "http.response.body", "body": answer.body})


async def _unless_gone(turn: Any, receive: Any) -> None:
    """Wait for one's turn. ConnectionResetError if the caller hangs up before."""
    waiting, gone = asyncio.ensure_future(turn), asyncio.ensure_future(receive())
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ConnectionResetError("the caller hung up")
    finally:
        waiting.cancel()
        gone.cancel()


async def call_of(scope: Mapping[str, Any], receive: Any) -> Call:
    """A request with its whole body. ConnectionResetError if the caller hangs up before."""
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        body = await _rest(body, receive)
    if message["type"] == "http.disconnect":
        raise ConnectionResetError("the caller hung up")
    headers = {name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]}
    return Call(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)


async def _rest(first: bytes, receive: Any) -> bytes:
    parts, size = [first], len(first)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the caller hung up")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise InputError(f"The body is larger than {MAX_BODY // 2**20} MiB.")
        if not message.get("more_body"):
            return b"".join(parts)


def failure(error: Exception, path: str) -> Answer:
    """What went wrong, in the words of the dialect that was asked."""
    message, headers = str(error), dict[str, str]()
    if isinstance(error, ModelError):
        print(error.traceback or error, file=sys.stderr, flush=True)
        status, code, headers = 500, "ModelError", FAILED
    elif isinstance(error, InputError):
        status, code = 400, "BadArgument"
    elif isinstance(error, PromptflowException):
        status, code = error.http_status, type(error).__name__
    else:
        logger.error("the request failed", exc_info=error)
        status, code, headers, message = 500, "SystemError", FAILED, f"{type(error).__name__}: {error}"
    if isinstance(error, PromptflowException) and error.hint:
        message += f" ({error.hint})"
    return Answer(body_of(Refusal(status, code, message), error_style(path.encode())), status, JSON, headers)
