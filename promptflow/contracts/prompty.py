"""A .prompty file: YAML front matter between lines of dashes, then a Jinja2 prompt. One parse, every error at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import FlowInput, FlowOutput, Problem
from promptflow.contracts.flow_yaml import nearest, raise_problems
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import InvalidConnectionError, UserErrorException
from promptflow.workspace.yamlfile import Marks, load_yaml_text

SUFFIX = ".prompty"
KEYS = (
    "name description version authors tags model inputs outputs sample template environment display_name type "
    "$schema id"
).split()
MODEL_KEYS = ("api", "configuration", "parameters", "response")
# Keys that name the model, and are no part of how to reach it.
_MODEL_NAMES = ("type", "connection", "model", "azure_deployment")

_DASHES = re.compile(r"^-{3,}[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class PromptyFile:
    """A file as it is written: ``data`` is the front matter, ``template`` the prompt below it."""

    file: Path
    data: dict[str, Any]
    template: str
    marks: Marks = field(repr=False)


@dataclass(frozen=True)
class PromptyModel:
    """``model``: which API of which model, with which parameters. ``response`` is first (choice) or all."""

    configuration: Any
    parameters: dict[str, Any]
    api: str = "chat"
    response: str = "first"

    @property
    def _model(self) -> str | None:
        """The name of the deployment or model."""
        if isinstance(self.configuration, Mapping):
            return self.configuration.get("azure_deployment") or self.configuration.get("model")
        return getattr(self.configuration, "azure_deployment", None) or getattr(self.configuration, "model", None)


@dataclass(frozen=True)
class PromptyFlow:
    """A prompty as a flow: what an executor shows of it."""

    name: str
    folder: Path
    file: Path
    inputs: dict[str, FlowInput]
    outputs: dict[str, FlowOutput]
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    sample_inputs: dict[str, Any] | None = None
    environment_variables: dict[str, Any] = field(default_factory=dict)
    additional_includes: tuple[str, ...] = ()
    message_format: str = "basic"
    language: str = "python"
    type: str = "standard"
    id: str = "default_flow_id"
    warnings: tuple[Problem, ...] = ()

    kind = "prompty"

    @property
    def chat_input(self) -> str | None:
        return next((name for name, i in self.inputs.items() if i.is_chat_input), None)

    @property
    def chat_history(self) -> str | None:
        marked = next((name for name, i in self.inputs.items() if i.is_chat_history), None)
        return marked or ("chat_history" if self.chat_input and "chat_history" in self.inputs else None)

    @property
    def chat_output(self) -> str | None:
        return next(iter(self.outputs), None) if self.chat_input else None


def load_prompty_file(file: Path) -> PromptyFile:
    """Read a .prompty. Raises a user error that lists every problem of its front matter, with line and column."""
    prompty = read_prompty_file(file)
    problems, _ = check(prompty.data, prompty.marks.at)
    if problems:
        raise_problems(problems, file)
    return prompty


def read_prompty_file(file: Path) -> PromptyFile:
    """Read a .prompty without checking what its front matter says."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserErrorException(f"{file} is not UTF-8: {error}.", location=str(file)) from error
    first = _DASHES.search(text)
    second = _DASHES.search(text, first.end()) if first else None
    if first is None or second is None:
        raise UserErrorException(
            "Illegal formatting of prompty: its YAML front matter must stand between two lines of dashes (---), "
            "and its prompt below the second.",
            location=f"{file}:1:1",
            hint="start the file with a line ---, and put another one between the YAML and the prompt",
        )
    # As many lines as stand before it, so that positions in the front matter are positions in the file.
    above = "\n" * text.count("\n", 0, first.end())
    data, marks = load_yaml_text(above + text[first.end() : second.start()], str(file))
    if not isinstance(data, dict):
        raise UserErrorException(
            f"The front matter of a prompty must be a mapping, found {type(data).__name__}.",
            location=marks.location(),
        )
    return PromptyFile(file, data, text[second.end() + 1 :], marks)


def check(data: Mapping[str, Any], at: Callable[..., tuple[int, int]]) -> tuple[list[Problem], list[Problem]]:
    """``(problems, warnings)`` of a front matter. ``at(*keys)`` tells line and column."""
    checks = _Checks(at)
    checks.unknown(data, KEYS)
    checks.model(data.get("model"))
    for section in ("inputs", "outputs"):
        checks.ports(data.get(section), section)
    sample = data.get("sample")
    if sample is not None and not isinstance(sample, Mapping | str | Path):
        checks.problem("'sample' must be a mapping or the name of a JSON file.", "sample")
    if str(data.get("template") or "jinja2").lower() != "jinja2":
        checks.problem(f"Template engine {data['template']!r} is not supported.", "template", hint="write jinja2")
    return checks.problems, checks.warnings


class _Checks:
    def __init__(self, at: Callable[..., tuple[int, int]]) -> None:
        self.at = at
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def problem(self, message: str, *keys: str, hint: str = "", cls: type[Exception] | None = None) -> None:
        self.problems.append(Problem(message, *self.at(*keys), hint, ".".join(keys), cls))

    def warning(self, message: str, *keys: str, hint: str = "") -> None:
        self.warnings.append(Problem(message, *self.at(*keys), hint, ".".join(keys)))

    def unknown(self, data: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in data:
            if key not in known:
                self.warning(f"Unknown key {key!r} is ignored.", str(key), hint=nearest(key, known))

    def model(self, model: Any) -> None:
        if not isinstance(model, Mapping):
            found = "nothing" if model is None else type(model).__name__
            self.problem(f"'model' must be a mapping with 'configuration', found {found}.", "model")
            return
        for key in model:
            if key not in MODEL_KEYS:
                known = f"known: {', '.join(MODEL_KEYS)}"
                self.problem(
                    f"Unknown key {key!r} in 'model'.", "model", str(key), hint=nearest(key, MODEL_KEYS) or known
                )
        if str(model.get("api", "chat")) not in ("chat", "completion"):
            self.warning(f"api {model['api']!r} is taken as 'chat'.", "model", "api", hint="write chat or completion")
        if str(model.get("response", "first")) not in ("first", "all"):
            self.warning("'response' is taken as 'first'.", "model", "response", hint="write first or all")
        if not isinstance(model.get("parameters") or {}, Mapping):
            self.problem("'parameters' must be a mapping.", "model", "parameters")
        self.configuration(model.get("configuration"))

    def configuration(self, configuration: Any) -> None:
        if configuration is None:
            self.problem(
                "'model' has no 'configuration': which model, and how to reach it.", "model",
                hint="add configuration: {type: azure_openai, azure_deployment: …, connection: …}",
            )  # fmt: skip
        elif isinstance(configuration, str | list | int | float | bool):
            self.problem("'configuration' must be a mapping.", "model", "configuration")
        elif isinstance(configuration, Mapping):
            inline = [key for key, value in configuration.items() if key not in _MODEL_NAMES and value]
            if configuration.get("connection") and inline:
                self.problem(
                    "Cannot configure model config and connection in configuration at the same time: "
                    f"'connection' and {', '.join(map(repr, inline))}.",
                    "model", "configuration", "connection",
                    hint="keep the connection, or the keys; not both", cls=InvalidConnectionError,
                )  # fmt: skip

    def ports(self, ports: Any, section: str) -> None:
        if ports is None:
            return
        if not isinstance(ports, Mapping):
            self.problem(f"'{section}' must be a mapping of names to types.", section)
            return
        for name, port in ports.items():
            if not isinstance(port, Mapping):
                what = f"'{section}.{name}' must be a mapping, found {type(port).__name__}."
                self.problem(what, section, str(name), hint=f"write {name}: {{type: string}}")


def port(name: str, definition: Mapping[str, Any]) -> FlowInput:
    """An input as flows describe theirs; a type that flows do not know counts as an object."""
    kind = str(definition.get("type") or "string").lower()
    return FlowInput(
        name=name,
        type=_TYPES.get(kind) or (ValueType(kind) if kind in set(ValueType) else ValueType.OBJECT),
        default=definition.get("default"),
        has_default="default" in definition,
        description=str(definition.get("description") or ""),
        enum=tuple(definition.get("enum") or ()),
        is_chat_input=bool(definition.get("is_chat_input", False)),
        is_chat_history=definition.get("is_chat_history"),
    )


# As newer prompty files and JSON Schema spell them.
_TYPES = {
    "number": ValueType.DOUBLE,
    "float": ValueType.DOUBLE,
    "integer": ValueType.INT,
    "boolean": ValueType.BOOL,
    "array": ValueType.LIST,
}
