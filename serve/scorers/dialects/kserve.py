"""KServe's v1 protocol: ``/v1/models/NAME:predict`` with ``{"instances": […]}``.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from __future__ import annotations

from typing import Any

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError
from serve.scorers.dialects.bodies import params_of, read_object, tensors_of
from serve.scorers.inputs import Inputs


def read(call: Call) -> Inputs:
    body = read_object(call.body)
    key = "instances" if "instances" in body else "inputs"
    if key not in body:
        raise InputError("The body has no 'instances'.")
    return Inputs.of(tensors_of(body[key], key), params_of(body))


def write(outputs: Any) -> Answer:
    return Answer(b'{"predictions":' + to_json(outputs) + b"}")
