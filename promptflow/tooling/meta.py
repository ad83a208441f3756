"""Python functions -> what they take: inputs with types, defaults and enums."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from promptflow.connections.custom import CustomStrongTypeConnection
from promptflow.connections.models import _Connection as Connection
from promptflow.contracts.tool import InputDefinition, Tool, ToolType, ValueType
from promptflow.contracts.types import PromptTemplate
from promptflow.tooling.decorator import original

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def describe_tool(
    function: Callable[..., Any], init_inputs: Mapping[str, inspect.Parameter] | None = None, name: str | None = None
) -> Tool:
    """The Tool that a ``@tool`` function or method is; ``init_inputs`` are those of its class."""
    inner = original(function)
    inputs, enable_kwargs = function_inputs(inner, init_inputs)
    qualified = getattr(inner, "__qualname__", getattr(inner, "__name__", "tool"))
    extra = dict(getattr(function, "__extra_info", None) or {})
    return Tool(
        name=name or getattr(function, "__name", None) or inner.__name__,
        type=ToolType(getattr(function, "__type", None) or "python"),
        inputs=inputs,
        description=getattr(function, "__description", None) or inspect.getdoc(inner) or "",
        module=getattr(inner, "__module__", None),
        class_name=qualified.rpartition(".")[0] or None if init_inputs is not None else None,
        function=inner.__name__,
        enable_kwargs=enable_kwargs,
        extra=extra,
    )


def function_inputs(
    function: Callable[..., Any], init_inputs: Mapping[str, inspect.Parameter] | None = None
) -> tuple[dict[str, InputDefinition], bool]:
    """``(inputs, takes **kwargs)`` of a function, its class's ``__init__`` inputs first."""
    signature = inspect.signature(function)
    hints = type_hints(function)
    parameters = {k: v for k, v in signature.parameters.items() if k != "self"}
    enable_kwargs = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    inputs = {name: parameter_input(p, p.annotation) for name, p in (init_inputs or {}).items()}
    for name, parameter in parameters.items():
        if parameter.kind not in _VARIADIC:
            inputs[name] = parameter_input(parameter, hints.get(name, parameter.annotation))
    return inputs, enable_kwargs


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Resolved annotations; where one cannot be resolved, the annotations as they are."""
    try:
        return typing.get_type_hints(function)
    except Exception:
        return dict(getattr(function, "__annotations__", {}))


def parameter_input(parameter: inspect.Parameter, annotation: Any) -> InputDefinition:
    """One parameter as an input definition."""
    default = parameter.default
    has_default = default is not inspect.Parameter.empty
    annotations = union_members(annotation)
    if annotations == (inspect.Parameter.empty,) and has_default and default is not None:
        annotations = (type(default),)
    choices: tuple[Any, ...] = ()
    first = annotations[0]
    if isinstance(first, type) and issubclass(first, enum.Enum):
        choices = tuple(str(member.value) for member in first)
        annotations = (str,)
    types_, custom = _connection_types(annotations)
    if not types_:
        types_ = (ValueType.from_type(annotations[0]) if len(annotations) == 1 else ValueType.OBJECT,)
    if isinstance(default, enum.Enum):
        default = default.value
    return InputDefinition(types_, default if has_default else None, has_default, "", choices, custom)


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union without None; a tuple of one for anything else."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(a for a in typing.get_args(annotation) if a is not type(None)) or (object,)
    return (annotation,)


def _connection_types(annotations: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of connection classes among the annotations, and of those that are strong custom types."""
    if not all(isinstance(a, type) and issubclass(a, Connection) for a in annotations):
        return (), ()
    names, custom = [], []
    for annotation in annotations:
        if issubclass(annotation, CustomStrongTypeConnection):
            custom.append(annotation.__name__)
            if "CustomConnection" not in names:
                names.append("CustomConnection")
        elif annotation.__name__ not in names:
            names.append(annotation.__name__)
    return tuple(names), tuple(custom)


def prompt_parameter(function: Callable[..., Any]) -> str | None:
    """The parameter that takes the prompt template of a custom LLM tool."""
    return next((name for name, hint in type_hints(original(function)).items() if hint is PromptTemplate), None)
