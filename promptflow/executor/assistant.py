"""Assistant definitions: a YAML file with a model, instructions and tools, whose functions are the flow's own code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import parse_value
from promptflow.contracts.reference import Reference
from promptflow.contracts.tool import InputDefinition, ValueType
from promptflow.contracts.types import AssistantDefinition
from promptflow.exceptions import InvalidAssistantTool, InvalidSource
from promptflow.tooling.decorator import original
from promptflow.tooling.meta import describe_tool
from promptflow.tooling.registry import package_tool
from promptflow.tooling.script import find_tool, load_script, script_path
from promptflow.workspace.yamlfile import load_yaml

_BUILT_IN = ("code_interpreter", "retrieval", "file_search")
_JSON_TYPES = {
    ValueType.INT: "number",
    ValueType.DOUBLE: "number",
    ValueType.BOOL: "boolean",
    ValueType.STRING: "string",
    ValueType.LIST: "array",
}


@dataclass
class AssistantTools:
    """The functions an assistant may call, and their definitions in OpenAI's tool format."""

    functions: dict[str, Callable[..., Any]] = field(default_factory=dict)
    definitions: list[dict[str, Any]] = field(default_factory=list)

    def invoke_tool(self, func_name: str, kwargs: Mapping[str, Any]) -> Any:
        return self.functions[func_name](**kwargs)

    def to_openai_tools(self) -> list[dict[str, Any]]:
        return self.definitions


def load_assistant(folder: Path, path: Any, input_name: str, node: str) -> AssistantDefinition:
    """The assistant that the file ``path`` defines. Raises InvalidSource, InvalidAssistantTool."""
    if isinstance(path, AssistantDefinition):
        return path
    file = folder / str(path)
    if not file.is_file():
        raise InvalidSource(f"Input '{input_name}' for node '{node}' of value '{path}' is not a valid path.")
    data, _ = load_yaml(file)
    assistant = AssistantDefinition.deserialize(data or {})
    tools = AssistantTools()
    for tool in assistant.tools:
        _add(tools, tool, folder, node)
    assistant._tool_invoker = tools  # type: ignore[attr-defined]
    return assistant


def _add(tools: AssistantTools, tool: dict[str, Any], folder: Path, node: str) -> None:
    kind = tool.get("type")
    if kind in _BUILT_IN:
        tools.definitions.append(tool)
        return
    if kind != "function":
        raise InvalidAssistantTool(
            f"Unsupported assistant tool's type in node {node} : {kind}.",
            hint=f"types: function, {', '.join(_BUILT_IN)}",
        )
    source = tool.get("source") or {}
    if source.get("type") == "package":
        found = package_tool(source.get("tool") or "")
        function, description = found.load(), found.tool
    else:
        path = script_path(folder, source.get("path"), node)
        function, provider = find_tool(load_script(path), path)
        description = describe_tool(function, provider.get_initialize_inputs() if provider else None)
    fixed = {k: parse_value(v) for k, v in (tool.get("predefined_inputs") or {}).items()}
    fixed = {k: v for k, v in fixed.items() if not isinstance(v, Reference)}
    target = original(function)
    tools.functions[target.__name__] = lambda **kwargs: target(**{**fixed, **kwargs})
    inputs = {k: v for k, v in description.inputs.items() if k not in fixed}
    tools.definitions.append(_definition(target.__name__, description.description, inputs))


def _definition(name: str, description: str, inputs: Mapping[str, InputDefinition]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for key, definition in inputs.items():
        kind = definition.type[0]
        properties[key] = {"type": _JSON_TYPES.get(kind, "object") if isinstance(kind, ValueType) else "object"}
        if definition.description:
            properties[key]["description"] = definition.description
        if definition.enum:
            properties[key]["enum"] = json.loads(json.dumps(list(definition.enum)))
    required = [key for key, definition in inputs.items() if not definition.has_default]
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
