"""The entry of a flex flow: its module, function or class, and what their signatures say."""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.connections.model_config import (
    AzureOpenAIModelConfiguration,
    ModelConfiguration,
    OpenAIModelConfiguration,
)
from promptflow.connections.models import _Connection as Connection
from promptflow.contracts.flow import FlowInput, FlowOutput
from promptflow.contracts.tool import InputDefinition, ValueType
from promptflow.exceptions import (
    FlowEntryInitializationError,
    GenerateFlowMetaJsonError,
    InvalidAggregationFunction,
    InvalidModelConfigValueType,
)
from promptflow.tooling.decorator import original
from promptflow.tooling.meta import function_inputs, type_hints, union_members

_PRIMITIVES = (str, int, float, bool, list, dict)
MODEL_CONFIGURATIONS: dict[str, type[ModelConfiguration]] = {
    cls.__name__: cls for cls in (AzureOpenAIModelConfiguration, OpenAIModelConfiguration)
}


@dataclass(frozen=True)
class Entry:
    """A function, or a class whose instances are called. ``inputs``, ``outputs`` and ``init`` by its signatures."""

    name: str
    function: Callable[..., Any]
    cls: type | None
    inputs: dict[str, FlowInput]
    outputs: dict[str, FlowOutput]
    init: dict[str, FlowInput]


def import_entry(entry: str, folder: Path) -> Any:
    """The object that ``module:name`` names, with ``folder`` already on sys.path.

    Raises GenerateFlowMetaJsonError where module or name cannot be had.
    """
    module_name, _, name = entry.partition(":")
    try:
        _forget_stranger(module_name, folder)
        module = importlib.import_module(module_name)
    except SystemExit as error:
        raise _cannot(f"module '{module_name}' calls sys.exit({error.code}) when imported.", folder) from error
    except Exception as error:
        message = f"Failed to load python module '{module_name}' from entry '{entry}': ({type(error).__name__}) {error}"
        raise _cannot(message, folder) from error
    found = getattr(module, name, None)
    if found is None or not callable(found):
        raise _cannot(f"Failed to collect flow entry '{entry}' in module '{module_name}'.", folder)
    return found


def describe_entry(found: Any, name: str | None = None) -> Entry:
    """What a function, a class or an instance takes and returns. Raises GenerateFlowMetaJsonError where it cannot be
    a flow: a return annotation that is no text, dataclass or TypedDict."""
    cls = found if inspect.isclass(found) else None
    if cls is not None and "__call__" not in _own(cls):
        raise GenerateFlowMetaJsonError(
            f"Generate meta failed, detail error:\nPython class entry '{cls.__name__}' does not have __call__ method."
        )
    is_instance = not inspect.isroutine(found) and cls is None
    function = cls.__call__ if cls is not None else (found.__call__ if is_instance else found)
    entry_name = name or getattr(found, "__name__", None) or type(found).__name__
    inner = original(function)
    inputs, _ = function_inputs(inner)
    init = function_inputs(cls.__init__)[0] if cls is not None and "__init__" in _own(cls) else {}
    _refuse_classes(function, inputs, entry_name)
    if cls is not None and init:
        _refuse_classes(cls.__init__, init, entry_name)
    return Entry(
        name=entry_name,
        function=found if not is_instance else found.__call__,
        cls=cls,
        inputs={k: _port(k, v) for k, v in inputs.items()},
        outputs=_outputs(inner, entry_name),
        init={k: _port(k, v) for k, v in init.items()},
    )


def make_instance(cls: type, name: str, init: Mapping[str, Any], connections: Callable[[str], Connection]) -> Any:
    """``cls(**init)`` with connection names and model configurations resolved. Raises FlowEntryInitializationError."""
    try:
        return cls(**_resolve_init(cls, init, connections))
    except Exception as error:
        given = {key: _masked(value) for key, value in init.items()}
        raise FlowEntryInitializationError(
            f"Failed to initialize flow entry with '{given}', ex:'{error}'.",
            hint=f"{name} takes: {', '.join(function_inputs(cls.__init__)[0]) or 'nothing'}",  # type: ignore[misc]
        ) from error


def aggregate_function(instance: Any) -> Callable[..., Any] | None:
    """``__aggregate__`` of an instance, which takes the list of results. Raises InvalidAggregationFunction."""
    function = getattr(instance, "__aggregate__", None)
    if function is None:
        return None
    if len(inspect.signature(function).parameters) != 1:
        raise InvalidAggregationFunction("The __aggregate__ method should have only one parameter.")
    found: Callable[..., Any] = function
    return found


def output_dict(value: Any) -> dict[str, Any]:
    """A flex flow's result as records hold it."""
    if isinstance(value, dict):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {"output": value}


def _refuse_classes(function: Callable[..., Any], inputs: Mapping[str, InputDefinition], name: str) -> None:
    """An input is data from a file or a request: it cannot be an instance of a class of the flow's own."""
    hints = type_hints(original(function))
    for key, definition in inputs.items():
        kinds = union_members(hints.get(key, inspect.Parameter.empty))
        if definition.type != (ValueType.OBJECT,) or len(kinds) != 1 or not isinstance(kinds[0], type):
            continue
        if kinds[0] in (dict, inspect.Parameter.empty) or issubclass(kinds[0], (dict, ModelConfiguration, Connection)):
            continue
        if typing.get_origin(kinds[0]) is None:
            raise GenerateFlowMetaJsonError(
                f"Generate meta failed, detail error:\nParse interface for '{name}' failed: The input '{key}' is of a "
                "complex python type. Please use a dict instead.",
                hint=f"annotate {key} with dict, list, str, int, float or bool",
            )


def _own(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if base is not object for name in vars(base)}


def _port(name: str, definition: InputDefinition) -> FlowInput:
    return FlowInput(
        name,
        definition.type[0],
        definition.default,
        definition.has_default,
        definition.description,
        tuple(definition.enum),
    )


def _outputs(function: Callable[..., Any], name: str) -> dict[str, FlowOutput]:
    annotation = type_hints(function).get("return", inspect.Signature.empty)
    kinds = union_members(annotation)
    kind = kinds[0]
    fields: dict[str, Any] | None = None
    if dataclasses.is_dataclass(kind):
        fields = {f.name: f.type for f in dataclasses.fields(kind)}
    elif isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__annotations__"):
        fields = dict(kind.__annotations__)
    if fields is not None:
        return {k: FlowOutput(k, _field_type(v), None) for k, v in fields.items()}
    if annotation in (str, inspect.Signature.empty, None, type(None), Any) or kind in (str, int, float, bool, list):
        return {}
    if _is_generator(annotation):
        return {}
    raise GenerateFlowMetaJsonError(
        f"Generate meta failed, detail error:\nParse interface for '{name}' failed: The return annotation of the entry "
        f"function must be dataclass, TypedDict or string, but got {annotation}.",
        hint="annotate the result with a TypedDict or a dataclass, or leave the annotation out",
    )


def _field_type(annotation: Any) -> ValueType:
    kind = union_members(annotation)[0]
    return ValueType.from_type(kind)


def _is_generator(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    kinds = (
        collections.abc.Iterator,
        collections.abc.AsyncIterator,
        collections.abc.Iterable,
        collections.abc.AsyncIterable,
    )
    return isinstance(origin, type) and issubclass(origin, kinds) and origin not in (dict, list, str)


def _resolve_init(cls: type, init: Mapping[str, Any], connections: Callable[[str], Connection]) -> dict[str, Any]:
    hints = type_hints(cls.__init__)  # type: ignore[misc]
    values = dict(init)
    for name, value in init.items():
        kind = union_members(hints.get(name))[0]
        if not isinstance(kind, type):
            continue
        if issubclass(kind, Connection) and isinstance(value, str):
            values[name] = connections(value)
        elif isinstance(value, str) and kind in (int, float, bool, list, dict):
            values[name] = ValueType.from_type(kind).parse(value)  # `--init n=2` gives texts
        elif issubclass(kind, ModelConfiguration):
            values[name] = _model_configuration(kind, value, connections)
    return values


def _model_configuration(kind: type[Any], value: Any, connections: Callable[[str], Connection]) -> ModelConfiguration:
    if isinstance(value, dict):
        value = kind(**value)
    if not isinstance(value, ModelConfiguration) or not isinstance(value, kind):
        raise InvalidModelConfigValueType(f"Model config value is not an instance of {kind}, got {type(value)}")
    name = getattr(value, "connection", None)
    if not name:
        return value
    connection: Any = connections(name) if isinstance(name, str) else name
    if isinstance(value, AzureOpenAIModelConfiguration):
        return AzureOpenAIModelConfiguration.from_connection(
            connection=connection, azure_deployment=value.azure_deployment
        )
    assert isinstance(value, OpenAIModelConfiguration)
    return OpenAIModelConfiguration.from_connection(connection=connection, model=value.model)


def _masked(value: Any) -> Any:
    """An init value as an error may show it: nothing below a key that names a secret."""
    if isinstance(value, dict):
        return {k: "***" if any(w in str(k).lower() for w in ("key", "secret", "token", "password")) else _masked(v)
                for k, v in value.items()}  # fmt: skip
    return value


def _forget_stranger(module_name: str, folder: Path) -> None:
    """A module of that name from elsewhere must not stand in for the flow's own file."""
    top = module_name.partition(".")[0]
    if not ((folder / f"{top}.py").exists() or (folder / top).is_dir()):
        return
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None) or next(iter(getattr(loaded, "__path__", [])), None)
    if loaded is not None and file and not Path(file).resolve().is_relative_to(folder.resolve()):
        for name in [n for n in sys.modules if n == top or n.startswith(top + ".")]:
            del sys.modules[name]


def _cannot(detail: str, folder: Path) -> GenerateFlowMetaJsonError:
    return GenerateFlowMetaJsonError(f"Generate meta failed, detail error:\n{detail}", location=str(folder))
