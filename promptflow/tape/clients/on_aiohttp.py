"""aiohttp: its session. A streamed answer is read whole while it is recorded."""

from __future__ import annotations

import functools
import inspect
import json as json_module
from types import SimpleNamespace
from typing import Any

from promptflow.tape.clients.intercept import Answer, intercept


def patch(module: Any) -> None:
    original = module.ClientSession._request
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    async def _request(self: Any, method: str, str_or_url: Any, **kwargs: Any) -> Any:
        url = self._build_url(str_or_url)
        params = kwargs.get("params")
        full = url.update_query(params) if params else url
        headers = {str(k): str(v) for k, v in {**self.headers, **(kwargs.get("headers") or {})}.items()}
        taken = intercept(method, str(full), headers, lambda: _read(self, kwargs))
        if taken is None:
            return await original(self, method, str_or_url, **kwargs)
        if isinstance(taken, Answer):
            return await _checked(self, _response(module, self, method, full, headers, taken), kwargs)
        try:
            response = await original(self, method, str_or_url, **{**kwargs, "raise_for_status": False})
            body = await response.read()
        except BaseException as error:
            taken.failed(error)
            raise
        plain = {k: v for k, v in response.headers.items() if k.lower() != "content-encoding"}  # it is decoded
        taken.answered(response.status, plain, body)
        response.content = _reader(body)
        return await _checked(self, response, kwargs)

    module.ClientSession._request = _request


def _read(session: Any, kwargs: dict[str, Any]) -> bytes | str | None:
    if kwargs.get("json") is not None:
        return session._json_serialize(kwargs["json"])  # type: ignore[no-any-return]
    data = kwargs.get("data")
    if data is None or isinstance(data, bytes | bytearray | str):
        return bytes(data) if isinstance(data, bytearray) else data
    if isinstance(data, dict | list | tuple):
        return json_module.dumps(data, default=str, sort_keys=True)
    if hasattr(data, "_fields"):  # a FormData: names and values
        return json_module.dumps([[str(field[0].get("name")), str(field[2])] for field in data._fields])
    if hasattr(data, "read"):
        content: bytes | str = data.read()
        kwargs["data"] = content
        return content
    return None


def _response(module: Any, session: Any, method: str, url: Any, headers: dict[str, str], answer: Answer) -> Any:
    """A ClientResponse that was never sent for. aiohttp has no public way to make one."""
    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy

    if answer.failure is not None:
        if answer.timed_out:
            raise aiohttp.ServerTimeoutError(answer.failure[1])
        raise aiohttp.ClientConnectionError(answer.failure[1])
    sent = CIMultiDictProxy(CIMultiDict(headers))
    wanted = {
        "writer": None,
        "continue100": None,
        "timer": None,
        "request_info": aiohttp.RequestInfo(url, method, sent, url),
        "traces": [],
        "loop": session._loop,
        "session": session,
        "stream_writer": SimpleNamespace(output_size=0),
    }
    known = inspect.signature(module.ClientResponse.__init__).parameters
    response = module.ClientResponse(method, url, **{k: v for k, v in wanted.items() if k in known})
    response.status, response.reason, response.version = answer.status, "", aiohttp.HttpVersion11
    response._headers = CIMultiDictProxy(CIMultiDict(answer.headers))
    response._raw_headers = tuple((k.encode(), v.encode()) for k, v in answer.headers.items())
    response.content = _reader(answer.body)
    return response


async def _checked(session: Any, response: Any, kwargs: dict[str, Any]) -> Any:
    """As the session does it at the end of a request."""
    check = kwargs.get("raise_for_status")
    check = session._raise_for_status if check is None else check
    if callable(check):
        await check(response)
    elif check:
        response.raise_for_status()
    return response


def _reader(body: bytes) -> Any:
    """A stream that has arrived already."""
    import asyncio

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.streams import StreamReader

    loop = asyncio.get_running_loop()
    reader = StreamReader(ResponseHandler(loop=loop), limit=2**16, loop=loop)
    reader.feed_data(body)
    reader.feed_eof()
    return reader
