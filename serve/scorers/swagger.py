"""The description of a deployment's ``/score`` as OpenAPI 2 (``swagger.json?version=2``) or 3."""

from __future__ import annotations

from typing import Any

JSON = "application/json"


def swagger(name: str, version: int, takes: dict[str, Any], gives: dict[str, Any]) -> dict[str, Any]:
    """``takes`` and ``gives`` are JSON schemas."""
    info = {"title": name, "description": f"What the deployment {name} takes and gives.", "version": "1.0"}
    return _two(info, takes, gives) if version == 2 else _three(info, takes, gives)


def _two(info: dict[str, Any], takes: dict[str, Any], gives: dict[str, Any]) -> dict[str, Any]:
    bearer = {"type": "apiKey", "name": "Authorization", "in": "header", "description": "Bearer KEY"}
    body = {"name": "input", "in": "body", "required": True, "schema": {"$ref": "#/definitions/ServiceInput"}}
    score = {
        "operationId": "RunMLService", "description": "Run the model on an input.", "consumes": [JSON],
        "produces": [JSON], "security": [{"Bearer": []}], "parameters": [body],
        "responses": {
            "200": {"description": "What the model says.", "schema": {"$ref": "#/definitions/ServiceOutput"}},
            "default": {"description": "An error."},
        },
    }  # fmt: skip
    return {
        "swagger": "2.0", "info": info, "schemes": ["http", "https"], "consumes": [JSON], "produces": [JSON],
        "securityDefinitions": {"Bearer": bearer}, "paths": {"/score": {"post": score}},
        "definitions": {"ServiceInput": takes, "ServiceOutput": gives},
    }  # fmt: skip


def _three(info: dict[str, Any], takes: dict[str, Any], gives: dict[str, Any]) -> dict[str, Any]:
    def content(schema: str) -> dict[str, Any]:
        return {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

    score = {
        "operationId": "RunMLService", "description": "Run the model on an input.", "security": [{"Bearer": []}],
        "requestBody": {"required": True, "content": content("ServiceInput")},
        "responses": {
            "200": {"description": "What the model says.", "content": content("ServiceOutput")},
            "default": {"description": "An error."},
        },
    }  # fmt: skip
    return {
        "openapi": "3.0.0", "info": info, "paths": {"/score": {"post": score}},
        "components": {
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"ServiceInput": takes, "ServiceOutput": gives},
        },
    }  # fmt: skip
