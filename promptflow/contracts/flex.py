"""flow.flex.yaml: a Python function or class as a flow. Unknown keys are errors, as they always were."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import FlowInput, FlowOutput, Problem
from promptflow.contracts.flow_yaml import nearest, raise_problems
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import InvalidFlexFlowEntry, InvalidSampleError, NotSupported, ValidationException
from promptflow.workspace.yamlfile import load_yaml

FLEX_KEYS = (
    "$schema entry inputs outputs init sample environment environment_variables additional_includes code language "
    "display_name description tags type name"
).split()
PORT_TYPES = ("string", "int", "double", "bool", "list", "object")
_ENTRY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_FILE = re.compile(r"^\$\{file:(.*)\}$")


@dataclass(frozen=True)
class FlexFlow:
    """A flex flow. ``inputs``, ``outputs`` and ``init`` are what the YAML says; the code's signature completes them."""

    name: str
    folder: Path
    file: Path
    entry: str
    inputs: dict[str, FlowInput] = field(default_factory=dict)
    outputs: dict[str, FlowOutput] = field(default_factory=dict)
    init: dict[str, FlowInput] = field(default_factory=dict)
    sample_inputs: dict[str, Any] | None = None
    sample_init: dict[str, Any] | None = None
    environment_variables: dict[str, Any] = field(default_factory=dict)
    additional_includes: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    type: str = "standard"

    kind = "flex"
    message_format = "basic"
    id = "default_flow_id"
    chat_input = None
    chat_history = None
    chat_output = None


def load_flex_file(file: Path) -> FlexFlow:
    """Read a flow.flex.yaml. Raises a ValidationException that lists every problem of the file."""
    data, marks = load_yaml(file)
    problems: list[Problem] = []

    def problem(message: str, *keys: str | int, hint: str = "", cls: type[Exception] = ValidationException) -> None:
        line, column = marks.at(*keys)
        problems.append(Problem(message, line, column, hint, ".".join(map(str, keys)), cls))

    if not isinstance(data, dict):
        problem("A flex flow must be a mapping with 'entry'.", hint="write entry: module:function")
        raise_problems(problems, file)
    if str(data.get("language") or "python").lower() != "python":
        problem(f"Flows in {data['language']} are not supported: only python flows run.", "language", cls=NotSupported)
        raise_problems(problems, file)
    for key in data:
        if key not in FLEX_KEYS:
            problem(f"{{'{key}': ['Unknown field.']}}", key, hint=nearest(key, FLEX_KEYS) or "remove it")
    entry = data.get("entry")
    if not isinstance(entry, str) or not _ENTRY.match(entry):
        what = "The flow has no 'entry'." if entry is None else f"Entry function {entry} is not valid."
        keys = ("entry",) if entry is not None else ()
        problem(what, *keys, hint="write entry: module:function_or_class", cls=InvalidFlexFlowEntry)
    base = _code_folder(data, file)
    sample = _sample(data.get("sample"), base, problem)
    ports = {key: _ports(data.get(key), key, problem) for key in ("inputs", "outputs", "init")}
    for key, kinds in (("environment_variables", dict), ("environment", dict), ("additional_includes", list)):
        if not isinstance(data.get(key) or kinds(), kinds):
            problem(f"'{key}' must be a {'mapping' if kinds is dict else 'list'}.", key)
    if problems:
        raise_problems(problems, file)
    return FlexFlow(
        name=str(data.get("name") or file.parent.resolve().name),
        folder=base.resolve(),
        file=file,
        entry=str(entry),
        inputs=ports["inputs"],
        outputs={k: FlowOutput(k, v.type, None, description=v.description) for k, v in ports["outputs"].items()},
        init=ports["init"],
        sample_inputs=sample.get("inputs"),
        sample_init=sample.get("init"),
        environment_variables=dict(data.get("environment_variables") or {}),
        additional_includes=tuple(str(i) for i in data.get("additional_includes") or ()),
        environment=dict(data.get("environment") or {}),
        display_name=data.get("display_name"),
        description=data.get("description"),
        tags={str(k): str(v) for k, v in (data.get("tags") or {}).items()},
        type=str(data.get("type") or "standard"),
    )


def _code_folder(data: dict[str, Any], file: Path) -> Path:
    code = data.get("code")
    return (file.parent / code) if isinstance(code, str) else file.parent


def _ports(data: Any, section: str, problem: Any) -> dict[str, FlowInput]:
    """Inputs, outputs or init as the YAML lists them."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        problem(f"'{section}' must be a mapping.", section)
        return {}
    ports = {}
    for name, item in data.items():
        item = item if isinstance(item, dict) else {"type": item}
        kind = str(item.get("type"))
        is_class = section == "init" and kind.endswith(("Connection", "ModelConfiguration"))
        if kind not in PORT_TYPES and not is_class:
            hint = nearest(kind, PORT_TYPES) or f"types: {', '.join(PORT_TYPES)}"
            problem(
                f"{section}.{name} has the type {kind!r}, which a flex flow does not take.", section, name, hint=hint
            )
            continue
        default = item.get("default")
        ports[str(name)] = FlowInput(
            name=str(name),
            type=kind if is_class else ValueType(kind),
            # an empty default stands for None: the function's own default counts then
            default=None if default == "" else default,
            has_default=default is not None and default != "",
            description=str(item.get("description") or ""),
            is_chat_input=bool(item.get("is_chat_input", False)),
            is_chat_history=item.get("is_chat_history"),
        )
    return ports


def _sample(value: Any, base: Path, problem: Any) -> dict[str, Any]:
    try:
        sample = resolve_files(value, base)
    except (OSError, ValueError) as error:
        problem(f"The sample cannot be read: {error}", "sample", cls=InvalidSampleError)
        return {}
    return sample if isinstance(sample, dict) else {}


def resolve_files(value: Any, base: Path) -> Any:
    """``value`` with every ``${file:x.json}`` replaced by what the file holds."""
    if isinstance(value, dict):
        return {k: resolve_files(v, base) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve_files(v, base) for v in value]
    match = _FILE.match(value) if isinstance(value, str) else None
    if match is None:
        return value
    path = base / match.group(1)
    if path.suffix in (".yaml", ".yml"):
        return load_yaml(path)[0]
    return json.loads(path.read_text(encoding="utf-8"))
