"""The messages of the Open Inference Protocol, version 2, as classes of protobuf.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md

They are made here from a table, in a pool of their own: code that protoc writes is bound to the protobuf of its day,
and clash with the messages of the same names that a client in this process (Triton's, KServe's) has registered.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# message: its fields as name:type=number, where [] is repeated, and {} a map from texts
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live:bool=1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready:bool=1",
    "ModelReadyRequest": "name:string=1 version:string=2",
    "ModelReadyResponse": "ready:bool=1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name:string=1 version:string=2 extensions:string[]=3",
    "ModelMetadataRequest": "name:string=1 version:string=2",
    "ModelMetadataResponse": "name:string=1 versions:string[]=2 platform:string=3 inputs:.TensorMetadata[]=4 "
    "outputs:.TensorMetadata[]=5",
    "ModelMetadataResponse.TensorMetadata": "name:string=1 datatype:string=2 shape:int64[]=3",
    "InferParameter": "bool_param:bool=1 int64_param:int64=2 string_param:string=3 double_param:double=4 "
    "uint64_param:uint64=5",
    "InferTensorContents": "bool_contents:bool[]=1 int_contents:int32[]=2 int64_contents:int64[]=3 "
    "uint_contents:uint32[]=4 uint64_contents:uint64[]=5 fp32_contents:float[]=6 fp64_contents:double[]=7 "
    "bytes_contents:bytes[]=8",
    "ModelInferRequest": "model_name:string=1 model_version:string=2 id:string=3 parameters:InferParameter{}=4 "
    "inputs:.InferInputTensor[]=5 outputs:.InferRequestedOutputTensor[]=6 raw_input_contents:bytes[]=7",
    "ModelInferRequest.InferInputTensor": "name:string=1 datatype:string=2 shape:int64[]=3 "
    "parameters:InferParameter{}=4 contents:InferTensorContents=5",
    "ModelInferRequest.InferRequestedOutputTensor": "name:string=1 parameters:InferParameter{}=2",
    "ModelInferResponse": "model_name:string=1 model_version:string=2 id:string=3 parameters:InferParameter{}=4 "
    "outputs:.InferOutputTensor[]=5 raw_output_contents:bytes[]=6",
    "ModelInferResponse.InferOutputTensor": "name:string=1 datatype:string=2 shape:int64[]=3 "
    "parameters:InferParameter{}=4 contents:InferTensorContents=5",
    "ModelStreamInferResponse": "error_message:string=1 infer_response:ModelInferResponse=2",
}
_CHOICES = {"InferParameter": "parameter_choice"}  # messages of which one field is set: what protobuf calls a oneof
_FIELD = re.compile(r"(\w+):([\w.]+)(\[\]|\{\})?=(\d+)")

_Field = descriptor_pb2.FieldDescriptorProto


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, own = name.rpartition(".")
        message = made[name] = made[outer].nested_type.add(name=own) if outer else file.message_type.add(name=own)
        if name in _CHOICES:
            message.oneof_decl.add(name=_CHOICES[name])
        for field, kind, many, number in _FIELD.findall(fields):
            _add(message, name, field, kind, many, int(number))
            if name in _CHOICES:
                message.field[-1].oneof_index = 0
    return file


def _add(message: Any, path: str, name: str, kind: str, many: str, number: int) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL)
    if many == "{}":
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        _add(entry, "", "key", "string", "", 1)
        _add(entry, "", "value", kind, "", 2)
        kind = f".{entry.name}"
    scalar = getattr(_Field, f"TYPE_{kind.upper()}", None)
    field.type = _Field.TYPE_MESSAGE if scalar is None else scalar
    if scalar is None:
        field.type_name = f".{PACKAGE}.{path if kind.startswith('.') else ''}{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
