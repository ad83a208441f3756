"""The OpenAPI document of a served flow, as clients of Prompt flow's endpoints read it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from promptflow.contracts.flow import FlowInput, FlowOutput
from promptflow.contracts.tool import ValueType

_TYPES = {
    ValueType.INT: "integer",
    ValueType.DOUBLE: "number",
    ValueType.BOOL: "boolean",
    ValueType.STRING: "string",
    ValueType.LIST: "array",
    ValueType.OBJECT: "object",
    ValueType.IMAGE: "object",
}
_ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": {}}
_FEEDBACK = {
    "post": {
        "summary": "collect promptflow feedback",
        "requestBody": {
            "description": "promptflow feedback data",
            "required": True,
            "content": {"application/json": {"schema": _ANY_OBJECT}},
        },
        "responses": {
            "200": {"description": "successful operation", "content": {"application/json": {"schema": _ANY_OBJECT}}},
            "400": {"description": "Invalid input"},
            "default": {"description": "unexpected error"},
        },
    },
    "parameters": [
        {
            "name": "flatten",
            "in": "query",
            "description": "flatten the feedback data into traced data",
            "required": False,
            "schema": {"type": "boolean"},
        }
    ],
}


def swagger(
    flow: Any, name: str, outputs: dict[str, FlowOutput], hidden: Collection[str], sample: Any
) -> dict[str, Any]:
    """The document; ``outputs`` are those declared, ``hidden`` are not answered."""
    return {
        "openapi": "3.0.0",
        "info": _info(flow, name, outputs),
        "components": {"securitySchemes": {"bearerAuth": {"type": "http", "scheme": "bearer"}}},
        "security": [{"bearerAuth": []}],
        "paths": {"/score": {"post": _score(flow, name, outputs, hidden, sample)}, "/feedback": _FEEDBACK},
    }


def _info(flow: Any, name: str, outputs: dict[str, FlowOutput]) -> dict[str, Any]:
    info = {"title": f"Promptflow[{name}] API", "version": "1.0.0", "x-flow-name": name}
    for input in flow.inputs.values():
        if input.is_chat_input:
            info.update({"x-chat-input": input.name, "x-flow-type": "chat"})
        if input.is_chat_history:
            info["x-chat-history"] = input.name
    for output in outputs.values():
        if output.is_chat_output and not output.evaluation_only:
            info["x-chat-output"] = output.name
    return info


def _score(
    flow: Any, name: str, outputs: dict[str, FlowOutput], hidden: Collection[str], sample: Any
) -> dict[str, Any]:
    body: dict[str, Any] = {"type": "object"}
    if flow.inputs:
        body["properties"] = {key: _input_schema(input) for key, input in flow.inputs.items()}
        body["required"] = list(flow.inputs)
    answer: dict[str, Any] = {"type": "object"}
    if outputs:
        answer["properties"] = {key: _schema(output) for key, output in outputs.items() if key not in hidden}
    return {
        "summary": f"run promptflow: {name} with an given input",
        "requestBody": {
            "description": "promptflow input data",
            "required": bool(flow.inputs),
            "content": {"application/json": {"schema": body, "example": _example(sample)}},
        },
        "responses": {
            "200": {"description": "successful operation", "content": {"application/json": {"schema": answer}}},
            "400": {"description": "Invalid input"},
            "default": {"description": "unexpected error"},
        },
    }


def _input_schema(input: FlowInput) -> dict[str, Any]:
    schema = _schema(input)
    if input.default:
        schema["default"] = input.default
    return schema


def _schema(port: FlowInput | FlowOutput) -> dict[str, Any]:
    # whatever OpenAPI has no word for comes as text: a path, a name of a connection
    kind = _TYPES.get(port.type, "string") if isinstance(port.type, ValueType) else "string"
    schema: dict[str, Any] = {"type": kind}
    if port.description:
        schema["description"] = port.description
    if port.type is ValueType.OBJECT:
        schema["additionalProperties"] = {}
    if port.type is ValueType.LIST:
        schema["items"] = _ANY_OBJECT
    return schema


def _example(sample: Any) -> Any:
    return sample[0] if isinstance(sample, list) and sample else {}
