"""Value types that annotate tool parameters: a plain value whose class says what it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Secret(str):
    """A secret value; ``secret_name`` says which."""

    secret_name: str

    def set_secret_name(self, name: str) -> None:
        self.secret_name = name


class PromptTemplate(str):
    """A Jinja2 prompt template."""


class FilePath(str):
    """The path of a file, relative to the flow's folder."""


@dataclass
class AssistantDefinition:
    """An OpenAI assistant: model, instructions and its tools as the definition file lists them."""

    model: str
    instructions: str
    tools: list[Any] = field(default_factory=list)

    @staticmethod
    def deserialize(data: Mapping[str, Any]) -> AssistantDefinition:
        return AssistantDefinition(data.get("model", ""), data.get("instructions", ""), list(data.get("tools") or []))

    def serialize(self) -> dict[str, Any]:
        return {"model": self.model, "instructions": self.instructions, "tools": self.tools}


class AttrDict(dict[str, Any]):
    """A dictionary whose keys are attributes too."""

    def __getattr__(self, key: str) -> Any:
        return self[key]

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value
