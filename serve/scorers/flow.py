"""A flow as a deployment: what ``pf flow serve`` answers with, and the same in other dialects, row by row."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any

from promptflow.contracts.tool import ValueType
from promptflow.exceptions import MissingExtraError, UserErrorException
from promptflow.workspace.optional import need
from serve.endpoints.spec import Spec
from serve.scorers.app import call_of, failure, send_answer
from serve.scorers.base import Answer, Call
from serve.scorers.dialects.facts import fact, is_metadata, metadata, posted, predicts, tensor
from serve.scorers.user_code import hidden_by

OWN = frozenset(("/version", "/health"))  # the flow's own words at paths that MLflow's servers have, too
DATATYPES = {ValueType.INT: "INT64", ValueType.DOUBLE: "FP64", ValueType.BOOL: "BOOL"}
_NEW = frozenset(
    (b"accept", b"content-type", b"content-length", b"transfer-encoding", b"inference-header-content-length")
)


class RowError(UserErrorException):
    """The flow failed on a row."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = status


class FlowApp:
    """One request of another dialect may be many rows: ``request.concurrency`` of them run at a time."""

    def __init__(self, spec: Spec) -> None:
        assert spec.code is not None
        self._spec = spec
        self._app: Any = None
        if hidden_by(spec.code):
            with suppress(MissingExtraError):
                _rows()  # else when they are asked for: they bring numpy, which not every flow needs

    def prepare(self) -> None:
        from promptflow.serving.app import create_app
        from promptflow.serving.options import ServeOptions
        from promptflow.serving.process import prepare

        assert self._spec.code is not None
        options = ServeOptions.from_environment(
            source=str(self._spec.code / self._spec.scoring_script), init=dict(self._spec.options.get("init") or {})
        )
        prepare(options)
        self._app = create_app(options)

    async def open(self) -> None:
        pass

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or path in OWN or not (predicts(path) or is_metadata(path) or fact(path)):
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(await call_of(scope, receive), scope, receive)
        except ConnectionResetError:
            return
        except Exception as error:
            answer = failure(error, path)
        await send_answer(answer, send)

    async def close(self) -> None:
        pass  # its lifespan has ended

    async def _answer(self, call: Call, scope: Any, receive: Any) -> Answer:
        if predicts(call.path):
            given = _rows().read(posted(call))
            written: Answer = given.write(await self._each(given.rows, given.where, scope, receive))
            return written
        flow = self._app.state.flow
        if is_metadata(call.path):
            outputs = {name: one for name, one in flow.definition.outputs.items() if name not in flow.hidden}
            return metadata(call.path, "promptflow", _fields(flow.definition.inputs), _fields(outputs))
        answer = fact(call.path)
        assert answer is not None
        return answer

    async def _each(self, rows: Any, where: str, scope: Any, receive: Any) -> list[Any]:
        """What the flow answers to each row; the error of the first that fails is that of all."""
        turns, gone = asyncio.Semaphore(self._spec.request.concurrency), asyncio.Event()

        async def one(at: int, row: Any) -> Any:
            async with turns:
                if gone.is_set():
                    raise ConnectionResetError("the caller hung up")
                return await self._row(row, "" if len(rows) == 1 else f"{where}[{at}]: ", at, scope, gone)

        tasks = [asyncio.create_task(one(at, row)) for at, row in enumerate(rows)]
        watch = asyncio.create_task(_watch(receive, gone))
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in (*tasks, watch):
                task.cancel()

    async def _row(self, row: Any, where: str, at: int, scope: Any, gone: asyncio.Event) -> Any:
        """As ``/score`` answers it. ConnectionResetError if the caller hung up meanwhile."""
        headers = [pair for pair in scope["headers"] if pair[0] not in _NEW]
        if where:  # a request's id is that of a run, and each row is one
            headers = [(name, _numbered(value, at) if name == b"x-request-id" else value) for name, value in headers]
        headers += [(b"accept", b"application/json"), (b"content-type", b"application/json")]
        inner = {**scope, "method": "POST", "path": "/score", "raw_path": b"/score", "query_string": b""}
        heard: list[Any] = []

        async def keep(message: Any) -> None:
            heard.append(message)

        await self._app({**inner, "headers": headers}, _body(json.dumps(row).encode(), gone), keep)
        if not heard:
            raise ConnectionResetError("the caller hung up")
        status, body = heard[0]["status"], b"".join(one.get("body", b"") for one in heard[1:])
        if status >= 400:
            raise RowError(status, where + json.loads(body)["error"]["message"])
        return json.loads(body)


@cache
def _rows() -> Any:
    """How other dialects are read."""
    need("numpy", extra="ml")
    return import_module("serve.scorers.dialects.rows")


def _fields(ports: Any) -> list[dict[str, Any]]:
    """Lists and objects are texts of JSON."""
    return [tensor(name, DATATYPES.get(one.type, "BYTES"), (-1,)) for name, one in ports.items()]


def _numbered(id: bytes, at: int) -> bytes:
    return b"%s-%d" % (id, at)


async def _watch(receive: Any, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _body(body: bytes, gone: asyncio.Event) -> Callable[[], Any]:
    """``receive`` of a request with this body, whose caller hangs up when ``gone`` is set."""
    left: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if left:
            return left.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive
