"""A model that another server runs: any that speaks the OpenAI API."""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
from array import array
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from promptflow.exceptions import PromptflowException, ValidationException
from promptflow.llm.http import aiohttp
from promptflow.llm.throttle import Throttle
from serve.engines.base import (
    Engine,
    EngineClosedError,
    EngineFailedError,
    Piece,
    Request,
    Scores,
    Stats,
    Vectors,
)
from serve.engines.remote_answer import Answer, BrokenAnswer
from serve.engines.remote_body import DIALECTS, OPENAI, VLLM, body_of
from serve.engines.remote_errors import RemoteError, refusal
from serve.engines.remote_limits import kept_to
from serve.engines.remote_place import Place, place_at
from serve.engines.remote_session import Sessions, watched

SILENCE_SECONDS = 600.0  # between two signs of life: a server that is busy may let a request wait for long
END_SECONDS = 0.5  # after an answer, for the connection to be free again
LARGEST_ERROR = 64 * 1024  # bytes
LARGEST_ANSWER = 256 * 1024 * 1024

logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Counts:
    running: int = 0
    finished: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class RemoteEngine(Engine):
    """``model`` is what it is called here, ``name`` what its server calls it. ``adapters``: names of LoRA adapters that
    requests use -> what the server calls them; any other adapter is asked for by its own name. ``dialect`` "openai" is
    for servers that refuse fields beyond OpenAI's, "vllm" for others; by default the address tells. ``timeout``:
    seconds of silence after which the server counts as gone. ``place`` and ``limits`` are those of a connection."""

    tasks = frozenset({"generate", "embed", "rerank"})
    inputs = frozenset({"text", "image"})

    def __init__(
        self,
        model: str,
        base_url: str = "",
        api_key: str = "",
        *,
        place: Place | None = None,
        limits: Throttle | None = None,
        name: str = "",
        headers: Mapping[str, str] | None = None,
        adapters: Mapping[str, str] | None = None,
        context: int = 0,
        timeout: float = SILENCE_SECONDS,
        dialect: str = "",
    ) -> None:
        super().__init__(model)
        self.place = place or place_at(base_url, api_key, headers)
        self.name, self.context, self.limits = name or model, context, limits
        self.dialect = dialect or (OPENAI if self.place.is_openai else VLLM)
        if self.dialect not in DIALECTS:
            raise ValidationException(f"There is no dialect '{dialect}'.", hint=f"one of {', '.join(DIALECTS)}")
        self._adapters = dict(adapters or {})
        self._sessions = Sessions(self.place, timeout)
        self._counts = Counts()
        self._closed = False

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._adapters)

    def load(self) -> None:
        """Asks the server what it has: an address where nothing listens, or a key that is wrong, are errors now."""
        self._closed = False
        # In a thread, because whoever calls this may have a loop of its own running.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, self._look()).result()

    async def _look(self) -> None:
        try:
            listed = await self.ask("GET", "models")
        except RemoteError as error:
            if error.http_status in (404, 405, 501):
                return  # not all servers can tell
            raise
        cards = listed.get("data") if isinstance(listed, Mapping) else None
        cards = [card for card in cards if isinstance(card, Mapping)] if isinstance(cards, list) else []
        mine = [card for card in cards if card.get("id") == self.name]
        if cards and not mine:
            logger.warning("The server at %s does not list a model '%s'.", self.place, self.name)
        length = mine[0].get("max_model_len") if mine else None
        if isinstance(length, int) and not self.context:
            self.context = length

    async def generate(self, request: Request) -> AsyncIterator[Piece]:
        route = "completions" if request.messages is None else "chat/completions"
        data = orjson.dumps(body_of(request, self._called(request.adapter), self.dialect))
        answer = Answer()
        with self._counted():
            async with (
                kept_to(self.limits, len(data), lambda: answer.prompt_tokens + answer.completion_tokens),
                self._sent("POST", route, data) as response,
            ):
                if response.content_type == "application/json":  # some servers do not stream all they can do
                    answer.push(await _read(response, LARGEST_ANSWER))
                    answer.done = True
                while not answer.done:
                    for piece in answer.feed(await response.content.readany()):
                        yield piece
                yield answer.end()
                await _drained(response)
            self._counts.prompt_tokens += answer.prompt_tokens
            self._counts.completion_tokens += answer.completion_tokens

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Vectors:
        inputs = [text if isinstance(text, str) else list(text) for text in texts]
        body = {"model": self.name, "input": inputs, "encoding_format": "base64"}

        def read(told: Any) -> list[list[float]]:
            return [_vector(entry["embedding"]) for entry in _in_order(told["data"], len(inputs))]

        return Vectors(*await self._measured("embeddings", body, read))

    async def rerank(self, query: str, documents: Sequence[str]) -> Scores:
        body = {"model": self.name, "query": query, "documents": list(documents), "top_n": len(documents)}

        def read(told: Any) -> list[float]:
            return _numbers([entry["relevance_score"] for entry in _in_order(told["results"], len(documents))])

        return Scores(*await self._measured("rerank", body, read))

    async def ask(self, method: str, route: str, body: Any = None) -> Any:
        """The JSON that the server answers; what it refuses is raised."""
        async with self._sent(method, route, None if body is None else orjson.dumps(body)) as response:
            data = await _read(response, LARGEST_ANSWER)
        with self._understood():
            return orjson.loads(data)

    async def _measured(self, route: str, body: Any, read: Callable[[Any], T]) -> tuple[T, int]:
        """What `read` finds in the answer, and the tokens that it took."""
        tokens = 0
        with self._counted():
            async with kept_to(self.limits, len(orjson.dumps(body)), lambda: tokens):
                told = await self.ask("POST", route, body)
                with self._understood():
                    result, usage = read(told), told.get("usage") or {}
                    tokens = int(usage.get("prompt_tokens") or usage.get("total_tokens") or 0)
        self._counts.prompt_tokens += tokens
        return result, tokens

    def stats(self) -> Stats:
        counts = self._counts
        return Stats(
            running=counts.running,
            finished=counts.finished,
            failed=counts.failed,
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.completion_tokens,
            device=str(self.place),
        )

    def unload(self) -> None:
        self._closed = True
        self._sessions.close()

    def _called(self, adapter: str) -> str:
        return self._adapters.get(adapter, adapter) if adapter else self.name

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._counts.running += 1
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            raise  # nobody wanted the rest
        except BaseException:
            self._counts.failed += 1
            raise
        else:
            self._counts.finished += 1
        finally:
            self._counts.running -= 1

    @asynccontextmanager
    async def _sent(self, method: str, route: str, data: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request, once it has begun well. Leaving it before its end breaks the connection off, which
        tells the server to stop; what goes wrong inside is named."""
        if self._closed:
            raise self._gone()
        try:
            async with await self._sessions.send(method, self.place.url(route), data) as response:
                with watched(response, self._sessions.silence):
                    if response.status != 200:
                        told = await _read(response, LARGEST_ERROR, cut=True)
                        raise refusal(response.status, told, response.headers, self.place, self.model, route)
                    yield response
        except (PromptflowException, GeneratorExit, asyncio.CancelledError):
            raise
        except BrokenAnswer as error:
            raise self._broken(error) from error
        except TimeoutError as error:
            raise self._failed("it does not answer") from error
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # the last: aiohttp's, of what is just closing
            if self._closed:
                raise self._gone() from error
            raise self._failed(_reason(error)) from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise self._failed(f"it sent what cannot be read ({type(error).__name__})") from error

    def _failed(self, reason: str) -> EngineFailedError:
        return EngineFailedError(self.place.hide(f"The server of '{self.model}' ({self.place}) failed: {reason}."))

    def _broken(self, error: BrokenAnswer) -> PromptflowException:
        if error.status >= 400:  # a refusal that was told as an event
            return refusal(error.status, error.body, {}, self.place, self.model, "answer")
        return self._failed(str(error))

    def _gone(self) -> EngineClosedError:
        return EngineClosedError(f"The model '{self.model}' is not loaded.")


async def _read(response: aiohttp.ClientResponse, most: int, cut: bool = False) -> bytes:
    """The body, of so many bytes at most: then it is cut, or an error."""
    parts, size = [], 0
    while chunk := await response.content.readany():
        parts.append(chunk)
        size += len(chunk)
        if size > most:
            if not cut:
                raise BrokenAnswer(f"it sent more than {most} bytes")
            break
    return b"".join(parts)[:most]


async def _drained(response: aiohttp.ClientResponse) -> None:
    """Read what comes after the last event: only then the connection can be used again."""
    try:
        async with asyncio.timeout(END_SECONDS):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass  # the answer is whole; this connection is given up


def _in_order(entries: Any, count: int) -> list[Any]:
    """The entries of so many inputs, in the inputs' order."""
    if len(entries) != count or {entry["index"] for entry in entries} != {*range(count)}:
        raise ValueError("not one for each")
    return sorted(entries, key=lambda entry: entry["index"])


def _vector(told: str | Sequence[float]) -> list[float]:
    """Numbers, or little-endian float32 in base64."""
    return _numbers(array("f", base64.b64decode(told, validate=True)) if isinstance(told, str) else told)


def _numbers(values: Sequence[float]) -> list[float]:
    numbers = [float(value) for value in values]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError("no numbers")
    return numbers


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it does not speak TLS as it should"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"it cannot be reached ({os.strerror(number) if number and number > 0 else error.os_error})"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what it sent is not HTTP"
    return "the connection broke off"
