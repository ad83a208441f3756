"""``/score`` of a deployment without code: ``{"input_data": …, "params": {…}}``, as Azure ML takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve.scorers.answers import to_json
from serve.scorers.base import Answer, Call, InputError
from serve.scorers.dialects.bodies import params_of, read_json, split_table, tensors_of
from serve.scorers.inputs import Inputs

NAMES = ("input_data", "inputs", "instances", "data", "dataframe_split")


def read(call: Call) -> Inputs:
    body = read_json(call.body)
    if isinstance(body, list):
        return Inputs.of(tensors_of(body, "the body"))
    name = next((name for name in NAMES if isinstance(body, dict) and name in body), "")
    if not name:
        raise InputError('The body has no "input_data".', hint='{"input_data": {"columns": […], "data": [[…]]}}')
    value, params = body[name], params_of(body)
    if isinstance(value, Mapping) and "data" in value and ("columns" in value or "index" in value):
        return Inputs.of(split_table(value, name), params)
    return Inputs.of(tensors_of(value, name), params)


def write(outputs: Any) -> Answer:
    return Answer(to_json(outputs))
