"""The calls of the protocol, each answered by the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from serve.gateway.gateway import Gateway
from serve.gateway.refusals import Refusal
from serve.rpc.asking import Heard, ask, headers_of
from serve.rpc.messages import SERVICE, message
from serve.rpc.translate import ModelInferResponse, body_of, metadata_of, response_of

_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: (400, 415, 422),
    grpc.StatusCode.UNAUTHENTICATED: (401,),
    grpc.StatusCode.PERMISSION_DENIED: (403,),
    grpc.StatusCode.NOT_FOUND: (404,),
    grpc.StatusCode.DEADLINE_EXCEEDED: (408, 504),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (413, 429, 431),
    grpc.StatusCode.UNIMPLEMENTED: (405, 501),
    grpc.StatusCode.UNAVAILABLE: (502, 503),
}
STATUS = {status: code for code, statuses in _CODES.items() for status in statuses}  # any other is INTERNAL
LONGEST = 1000  # characters of an error: it goes into a trailer, for which clients have limits
NOT_READY = 503

ServerLiveResponse, ServerReadyResponse = message("ServerLiveResponse"), message("ServerReadyResponse")
ServerMetadataResponse, ModelReadyResponse = message("ServerMetadataResponse"), message("ModelReadyResponse")
ModelStreamInferResponse = message("ModelStreamInferResponse")


class Service:
    """What gRPC calls a generic handler. A message is read from callers only who show a key of some endpoint; the
    endpoint that it names then looks at the key as it does at any."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open = _handlers({
            "ServerLive": ServerLiveResponse(live=True),
            "ServerReady": ServerReadyResponse(ready=True),
            "ServerMetadata": ServerMetadataResponse(name="promptflow", version="2", extensions=["binary_tensor_data"]),
        })  # fmt: skip
        infer = message("ModelInferRequest").FromString
        self._behind = {
            "ModelReady": _unary(self._answer(self.ready), message("ModelReadyRequest").FromString),
            "ModelMetadata": _unary(self._answer(self.metadata), message("ModelMetadataRequest").FromString),
            "ModelInfer": _unary(self._answer(self.infer), infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.stream, infer, _bytes),
        }
        self._shut = grpc.stream_stream_rpc_method_handler(_shut, None, _bytes)

    def service(self, call: Any) -> Any:
        service, _, method = call.method.lstrip("/").partition("/")
        if service != SERVICE:
            return None
        if method in self._open:
            return self._open[method]
        if method in self._behind and not self._is_known(call.invocation_metadata or ()):
            return self._shut
        return self._behind.get(method)

    async def ready(self, request: Any, context: Any) -> Any:
        heard = await ask(self._gateway, context, request.name, request.version, "/ready")
        if heard.status != NOT_READY:
            _check(heard)
        return ModelReadyResponse(ready=heard.status != NOT_READY), heard

    async def metadata(self, request: Any, context: Any) -> Any:
        heard = _check(await ask(self._gateway, context, request.name, request.version, ""))
        route = self._gateway.routes.get(request.name)
        return metadata_of(heard.body, request.name, sorted(route.lanes) if route is not None else []), heard

    async def infer(self, request: Any, context: Any) -> Any:
        asked = ask(self._gateway, context, request.model_name, request.model_version, "/infer", body_of(request))
        heard = _check(await asked)
        return response_of(request, *heard.parts, heard.deployment), heard

    async def stream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """One answer for each request, in their order; an error is an answer, too, with the id of its request."""
        async for request in requests:
            try:
                response, _ = await self.infer(request, context)
            except (Refusal, FailedError) as error:
                failed = ModelInferResponse(id=request.id)
                yield ModelStreamInferResponse(error_message=str(error)[:LONGEST], infer_response=failed)
            else:
                yield ModelStreamInferResponse(infer_response=response)

    def _is_known(self, metadata: Any) -> bool:
        headers = headers_of(metadata)
        return any(route.door.opens_to(headers) for route in self._gateway.routes.values())

    def _answer(self, method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """``method`` with its errors in the words of gRPC."""

        async def answer(request: Any, context: Any) -> Any:
            try:
                response, heard = await method(request, context)
            except Refusal as refusal:
                return await context.abort(STATUS[refusal.status], refusal.message[:LONGEST])
            except FailedError as failed:
                code = STATUS.get(failed.heard.status, grpc.StatusCode.INTERNAL)
                return await context.abort(code, str(failed)[:LONGEST], failed.heard.metadata)
            context.set_trailing_metadata(heard.metadata)
            return response

        return answer


class FailedError(Exception):
    """The gateway's answer is an error."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(heard.error)
        self.heard = heard


def _check(heard: Heard) -> Heard:
    if heard.status != 200:
        raise FailedError(heard)
    return heard


def _handlers(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Of calls whose answers are always the same: whatever strangers send is not read."""

    def handler(answer: Any) -> Any:
        async def say(requests: Any, context: Any) -> Any:
            return answer

        return grpc.stream_unary_rpc_method_handler(say, None, _bytes)

    return {name: handler(answer) for name, answer in answers.items()}


def _unary(method: Callable[[Any, Any], Awaitable[Any]], read: Callable[[bytes], Any]) -> Any:
    return grpc.unary_unary_rpc_method_handler(method, read, _bytes)


def _bytes(response: Any) -> bytes:
    data: bytes = response.SerializeToString()
    return data


async def _shut(requests: Any, context: Any) -> None:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED, "This needs a key of an endpoint, as metadata: authorization: Bearer KEY"
    )
