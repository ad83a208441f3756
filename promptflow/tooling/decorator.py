"""The ``@tool`` decorator, ``ToolProvider`` and the input settings of package tools.

Everybody's tools import this file: the standard library and our own light modules only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from promptflow.exceptions import UserErrorException
from promptflow.tracing.decorate import traced

TOOL_TYPES = ("llm", "python", "csharp", "prompt", "action", "custom_llm")
INPUTS_TO_ESCAPE_PARAM_KEY = "_inputs_to_escape"
STREAMING_OPTION_PARAMETER_ATTR = "_streaming_option_parameter"

F = TypeVar("F", bound=Callable[..., Any])


@overload
def tool(func: F) -> F: ...
@overload
def tool(
    func: None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    type: str | None = None,
    input_settings: dict[str, Any] | None = None,
    streaming_option_parameter: str | None = None,
    **kwargs: Any,
) -> Callable[[F], F]: ...
def tool(
    func: Any = None,
    *,
    name: str | None = None,
    description: str | None = None,
    type: str | None = None,
    input_settings: dict[str, Any] | None = None,
    streaming_option_parameter: str | None = None,
    **kwargs: Any,
) -> Any:
    """Make a function (sync, async, generator) a tool: usable as a node, traced when called by itself.

    ``streaming_option_parameter`` names the parameter that asks the tool to stream; other keywords end up in the
    tool's description. Of these, ``isolation="process"`` and ``pure=True`` (the same arguments always give the same
    result, so it may be cached) or ``False`` (it never is) count when a flow runs.
    """
    if type is not None and type not in TOOL_TYPES:
        raise UserErrorException(f"Tool type {type} is not supported yet.", hint=f"types: {', '.join(TOOL_TYPES)}")

    def decorate(f: Any) -> Any:
        wrapper = traced(f)
        for key, value in {
            "__tool": None,
            "__name": name,
            "__description": description,
            "__type": type,
            "__input_settings": input_settings,
            "__extra_info": kwargs,
            "__original_function": f,
        }.items():
            setattr(wrapper, key, value)
        if streaming_option_parameter:
            setattr(wrapper, STREAMING_OPTION_PARAMETER_ATTR, streaming_option_parameter)
        return wrapper

    return decorate(func) if func is not None else decorate


def is_tool(obj: Any) -> bool:
    return inspect.isroutine(obj) and hasattr(obj, "__tool")


def original(f: Any) -> Any:
    """The function below the decorators of ours (``@tool``, ``@trace``)."""
    while hasattr(f, "__original_function"):
        f = getattr(f, "__original_function")  # noqa: B009 (a class body would mangle the name)
    return f


class ToolProvider:
    """Base of class tools: what ``__init__`` takes are inputs of every ``@tool`` method too."""

    _init_params: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> ToolProvider:
        instance = super().__new__(cls)
        names = list(cls.get_initialize_inputs())
        instance._init_params = {**dict(zip(names, args, strict=False)), **kwargs}
        return instance

    def __init__(self) -> None:
        pass

    @classmethod
    def get_initialize_inputs(cls) -> dict[str, inspect.Parameter]:
        return _init_parameters(cls)

    @classmethod
    def get_required_initialize_inputs(cls) -> list[str]:
        return [k for k, v in _init_parameters(cls).items() if v.default is inspect.Parameter.empty]


def _init_parameters(cls: type) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    return {k: v for k, v in parameters.items() if k != "self" and v.kind not in kinds}


@dataclass
class DynamicList:
    """The choices of an input come from a function: its path or itself, and the inputs it takes."""

    function: Any
    input_mapping: dict[str, str] | None = None


@dataclass
class InputSetting:
    """How an editor shows one input of a tool."""

    is_multi_select: bool | None = None
    allow_manual_entry: bool | None = None
    enabled_by: str | None = None
    enabled_by_value: list[Any] | None = None
    enabled_by_type: list[Any] | None = None
    dynamic_list: DynamicList | None = None
    generated_by: Any = None
    ui_hints: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __init__(self, **settings: Any) -> None:
        for name in ("is_multi_select", "allow_manual_entry", "enabled_by", "enabled_by_value", "enabled_by_type"):
            setattr(self, name, settings.pop(name, None))
        self.dynamic_list = settings.pop("dynamic_list", None)
        self.generated_by = settings.pop("generated_by", None)
        self.ui_hints = settings.pop("ui_hints", None)
        self.extra = settings
