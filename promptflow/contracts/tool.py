"""Types of values and tools, and what a tool says of its inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from promptflow.contracts.multimedia import Image
from promptflow.contracts.types import AssistantDefinition, FilePath, PromptTemplate, Secret


class ValueType(StrEnum):
    """The type of a flow input, a flow output or a tool input."""

    INT = "int"
    DOUBLE = "double"
    BOOL = "bool"
    STRING = "string"
    SECRET = "secret"
    PROMPT_TEMPLATE = "prompt_template"
    LIST = "list"
    OBJECT = "object"
    FILE_PATH = "file_path"
    IMAGE = "image"
    ASSISTANT_DEFINITION = "assistant_definition"

    @staticmethod
    def from_type(t: Any) -> ValueType:
        """The type for a Python annotation; anything unknown is an object."""
        return _BY_CLASS.get(t, ValueType.OBJECT) if isinstance(t, type) else ValueType.OBJECT

    @staticmethod
    def from_value(value: Any) -> ValueType:
        for cls in (Secret, PromptTemplate, FilePath, bool, int, float, str, list, AssistantDefinition):
            if isinstance(value, cls):
                return _BY_CLASS[cls]
        return ValueType.OBJECT

    def parse(self, value: Any) -> Any:
        """``value`` as this type. Raises ValueError, TypeError or OverflowError (infinity) where it is not one."""
        if self is ValueType.INT:
            return int(value)
        if self is ValueType.DOUBLE:
            return float(value)
        if self is ValueType.BOOL:
            if isinstance(value, bool):
                return value
            if isinstance(value, str) and value.lower() in ("true", "false"):
                return value.lower() == "true"
            raise ValueError(f"Invalid boolean value {value!r}")
        if self is ValueType.STRING:
            return str(value)
        if self is ValueType.LIST:
            parsed = json.loads(value) if isinstance(value, str) else value
            if not isinstance(parsed, list):
                raise ValueError(f"Invalid list value {value!r}")
            return parsed
        if self is ValueType.OBJECT and isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError:
                return value  # it may really be a string
        return value


_BY_CLASS: dict[type, ValueType] = {
    int: ValueType.INT,
    float: ValueType.DOUBLE,
    bool: ValueType.BOOL,
    str: ValueType.STRING,
    list: ValueType.LIST,
    Secret: ValueType.SECRET,
    PromptTemplate: ValueType.PROMPT_TEMPLATE,
    FilePath: ValueType.FILE_PATH,
    Image: ValueType.IMAGE,
    AssistantDefinition: ValueType.ASSISTANT_DEFINITION,
}


class ToolType(StrEnum):
    """What kind of tool a node runs."""

    LLM = "llm"
    PYTHON = "python"
    CSHARP = "csharp"
    PROMPT = "prompt"
    _ACTION = "action"
    CUSTOM_LLM = "custom_llm"
    FLOW = "flow"


@dataclass(frozen=True)
class InputDefinition:
    """One input of a tool. ``type`` lists value types (ValueType) and names of connection classes (str)."""

    type: tuple[ValueType | str, ...]
    default: Any = None
    has_default: bool = False
    description: str = ""
    enum: tuple[Any, ...] = ()
    custom_type: tuple[str, ...] = ()

    def serialize(self) -> dict[str, Any]:
        """As ``pf tool list`` and tool packages spell it."""
        types = [t.value if isinstance(t, ValueType) else t for t in self.type]
        data: dict[str, Any] = {"type": types}
        if self.has_default:
            data["default"] = "" if self.default is None else str(self.default)
        for key in ("description", "enum", "custom_type"):
            value = getattr(self, key)
            if value:
                data[key] = list(value) if isinstance(value, tuple) else value
        return data


@dataclass(frozen=True)
class Tool:
    """A tool as its package or its source describes it. ``connections``: inputs that take a connection."""

    name: str
    type: ToolType
    inputs: dict[str, InputDefinition] = field(default_factory=dict)
    description: str = ""
    module: str | None = None
    class_name: str | None = None
    function: str | None = None
    enable_kwargs: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    def serialize(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "name": self.name,
            "type": self.type.value,
            "inputs": {name: definition.serialize() for name, definition in self.inputs.items()},
        }
        for key in ("description", "module", "class_name", "function"):
            if getattr(self, key):
                data[key] = getattr(self, key)
        return {**data, **self.extra}
