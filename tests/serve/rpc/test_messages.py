"""The messages against those of a client that thousands use."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

from serve.rpc.messages import _MESSAGES as NAMES  # noqa: E402
from serve.rpc.messages import message  # noqa: E402


def fields(descriptor: Any) -> dict[str, Any]:
    found = {}
    for one in descriptor.fields:
        inner = fields(one.message_type) if one.message_type else None
        oneof = one.containing_oneof.name if one.containing_oneof else None
        found[one.name] = (one.number, one.type, one.is_repeated, oneof, inner)
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if "." not in name])
def test_names_numbers_and_types_are_the_protocol_s(name: str) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    theirs = triton.service_pb2.DESCRIPTOR.message_types_by_name[name]
    ours = message(name).DESCRIPTOR
    assert ours.full_name == theirs.full_name
    assert fields(ours) == fields(theirs)


def test_bytes_of_one_are_read_by_the_other() -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    ours = message("ModelInferRequest")(model_name="shop", id="7", raw_input_contents=[b"\0\1"])
    ours.parameters["seed"].int64_param = -3
    tensor = ours.inputs.add(name="x", datatype="INT8", shape=[1, 2])
    tensor.contents.int_contents.extend([-1, 2])
    theirs = triton.service_pb2.ModelInferRequest.FromString(ours.SerializeToString())
    assert theirs.parameters["seed"].int64_param == -3
    assert list(theirs.inputs[0].contents.int_contents) == [-1, 2]
    assert message("ModelInferRequest").FromString(theirs.SerializeToString()) == ours
