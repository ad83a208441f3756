"""References -> values; rows -> typed flow inputs. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptflow.contracts.flow import FlowInput
from promptflow.contracts.reference import Reference
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import InputNotFound, InputTypeError, InvalidReferenceProperty, UnsupportedReference


def step_into(reference: Reference, value: Any) -> Any:
    """The part of a node's output that ``reference`` names. Raises UnsupportedReference, InvalidReferenceProperty."""
    if reference.section != "output":
        raise UnsupportedReference(
            f"Flow execution failed. The section '{reference.section}' of reference is currently unsupported. "
            f"Please specify the output part of the node '{reference.node}'.",
            hint=f"write ${{{reference.node}.output}}",
        )
    for part in reference.path:
        try:
            value = _step(value, part)
        except (KeyError, IndexError, AttributeError, TypeError) as error:
            raise InvalidReferenceProperty(
                f"Flow execution failed. Invalid property '{part}' when accessing the node '{reference.node}' with "
                f"{reference.text}. Please check the property and try again.",
                hint=_known_parts(value),
            ) from error
    return value


def _step(value: Any, part: str | int) -> Any:
    if isinstance(part, int) or isinstance(value, dict):
        return value[part]
    return getattr(value, part)


def _known_parts(value: Any) -> str:
    if isinstance(value, dict):
        return f"its keys are: {', '.join(map(str, list(value)[:20]))}"
    return f"the value there is a {type(value).__name__}"


def apply_inputs(
    definitions: Mapping[str, FlowInput], row: Mapping[str, Any], line: int | None = None
) -> dict[str, Any]:
    """The flow's inputs from ``row``: defaults filled in, types applied, anything else left out.

    Raises InputNotFound for a missing input without default, InputTypeError where a value is not of its type.
    """
    values: dict[str, Any] = {}
    at = "" if line is None else f" in line {line} of input data"
    for name, definition in definitions.items():
        if name not in row:
            if not definition.has_default:
                raise InputNotFound(
                    f"The input for flow is incorrect. The value for flow input '{name}' is not provided"
                    f"{at or ' in input data'}. "
                    "Please review your input data or remove this input in your flow if it's no longer needed.",
                    hint=f"the data has: {', '.join(map(str, row)) or 'nothing'}",
                )
            values[name] = coerce(definition, definition.default, at)
        else:
            values[name] = coerce(definition, row[name], at)
    return values


def coerce(definition: FlowInput, value: Any, at: str = "") -> Any:
    """``value`` as the input's type. Raises InputTypeError."""
    kind = definition.type
    if not isinstance(kind, ValueType) or kind in _AS_THEY_ARE:
        return value
    if type(value) is _EXACT.get(kind):
        return value
    try:
        return kind.parse(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputTypeError(
            f"The input for flow is incorrect. The value for flow input '{definition.name}'{at} does not match the "
            f"expected type '{kind.value}'. Please change flow input type or adjust the value in your input data.",
            hint=f"found {_shorten(value)} ({type(value).__name__})",
        ) from error


_AS_THEY_ARE = (ValueType.IMAGE, ValueType.SECRET, ValueType.FILE_PATH, ValueType.PROMPT_TEMPLATE)
_EXACT = {
    ValueType.STRING: str,
    ValueType.INT: int,
    ValueType.DOUBLE: float,
    ValueType.BOOL: bool,
    ValueType.LIST: list,
}


def _shorten(value: Any, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"
