"""Requests of gRPC as the instances take them, in the REST form of the same protocol, and their answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from serve.gateway.refusals import Refusal
from serve.rpc.messages import message
from serve.rpc.tensors import KINDS, packed, unpack

OWN = ("binary_data", "binary_data_size", "binary_data_output")  # parameters that say how the REST form is laid out
SHARED = "shared_memory_region"

ModelInferResponse = message("ModelInferResponse")
ModelMetadataResponse = message("ModelMetadataResponse")


def body_of(request: Any) -> tuple[bytes, bytes]:
    """A JSON head, and the bytes of the tensors. Refusal for what cannot be put that way; the rest is looked at where
    the model is."""
    blobs = _blobs(request)
    inputs = []
    for tensor, blob in zip(request.inputs, blobs, strict=True):
        parameters = {**_parameters(tensor), "binary_data_size": len(blob)}
        shape = list(tensor.shape)
        inputs.append({"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "parameters": parameters})
    told: dict[str, Any] = {"inputs": inputs, "parameters": {**_parameters(request), "binary_data_output": True}}
    if request.id:
        told["id"] = request.id
    if request.outputs:
        told["outputs"] = [{"name": one.name, "parameters": _parameters(one)} for one in request.outputs]
    return orjson.dumps(told), b"".join(blobs)


def response_of(request: Any, head: bytes, rest: bytes, deployment: str) -> Any:
    """The answer to ``request``: in bytes where it came so, and else in lists, unless a datatype has none."""
    told = orjson.loads(head)
    response = ModelInferResponse(model_name=request.model_name, model_version=deployment, id=request.id)
    blobs, cut = [], 0
    for one in told["outputs"]:
        response.outputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
        size = one["parameters"]["binary_data_size"]
        blobs.append(rest[cut : cut + size])
        cut += size
    if request.raw_input_contents or any(one.datatype not in KINDS for one in response.outputs):
        response.raw_output_contents.extend(blobs)
        return response
    for output, blob in zip(response.outputs, blobs, strict=True):
        unpack(blob, output.datatype, output.contents)
    return response


def metadata_of(body: bytes, name: str, versions: list[str]) -> Any:
    told = orjson.loads(body)
    response = ModelMetadataResponse(name=name, versions=versions, platform=told["platform"])
    for side in ("inputs", "outputs"):
        for one in told[side]:
            getattr(response, side).add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
    return response


def _blobs(request: Any) -> list[bytes]:
    raw = request.raw_input_contents
    if not request.inputs:
        raise _bad("The request has no inputs.")
    for one in (*request.inputs, *request.outputs):
        if SHARED in one.parameters:
            raise _bad(f"The tensor '{one.name}' is in shared memory, which is not taken here: send its values.")
    if not raw:
        return [packed(one) for one in request.inputs]
    if len(raw) != len(request.inputs):
        raise _bad(f"There are {len(request.inputs)} inputs, and {len(raw)} raw_input_contents.")
    both = next((one.name for one in request.inputs if one.HasField("contents")), None)
    if both is not None:
        raise _bad(f"The tensor '{both}' has contents beside the raw_input_contents.")
    return list(raw)


def _parameters(holder: Any) -> dict[str, Any]:
    """Those that are not about the form."""
    found: Mapping[str, Any] = holder.parameters
    return {name: _value(one) for name, one in found.items() if name not in OWN}


def _value(parameter: Any) -> Any:
    which = parameter.WhichOneof("parameter_choice")
    return None if which is None else getattr(parameter, which)


def _bad(text: str) -> Refusal:
    return Refusal(400, "BadArgument", text)
