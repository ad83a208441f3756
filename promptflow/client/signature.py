"""What code takes and returns, and writing it down as a flow.flex.yaml."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import FlowInput, FlowOutput
from promptflow.contracts.tool import ValueType
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.executor.activation import activated
from promptflow.executor.callable import AsyncFlow, Flow
from promptflow.executor.entry import Entry, describe_entry, import_entry
from promptflow.workspace.atomic import write_whole

FLEX_FILE = "flow.flex.yaml"
SAMPLE_FILE = "sample.json"
_NAMES = {"str": "string", "float": "double", "integer": "int", "boolean": "bool", "dict": "object"}


def describe(entry: Any, *, include_primitive_output: bool = False) -> dict[str, Any]:
    """``{"inputs": {name: {"type": …}}, "outputs": …, "init": …}`` of a function, a class, a flow or a prompty."""
    if isinstance(entry, Flow | AsyncFlow):
        meta = {"inputs": _ports(entry.inputs), "outputs": _ports(entry.outputs)}
        return {part: ports for part, ports in meta.items() if ports or part == "inputs"}
    if hasattr(entry, "_get_input_signature"):
        return _describe_prompty(entry, include_primitive_output)
    if not (inspect.isclass(entry) or inspect.isfunction(entry) or inspect.ismethod(entry)):
        raise UserErrorException(f"Invalid entry {type(entry).__name__}, only support callable object or prompty.")
    return _describe_entry(describe_entry(entry), entry, include_primitive_output)


def save_flow(
    entry: str | Callable[..., Any],
    *,
    code: Path | None,
    target: Path | None,
    requirements: str | None = None,
    image: str | None = None,
    signature: Mapping[str, Any] | None = None,
    sample: Mapping[str, Any] | str | PathLike[str] | None = None,
) -> Path:
    """Write a flow.flex.yaml for ``entry``; ``target``, a new or empty folder, gets it with a copy of the code."""
    name, folder, found = _locate(entry, code)
    data = {**_merged(_describe_entry(describe_entry(found), found, False), signature or {}), "entry": name}
    environment = _environment(requirements, image, folder)
    if environment:
        data["environment"] = environment
    if target is None:
        target = folder
    else:
        _copy_code(folder, target)
    if requirements:
        shutil.copy(requirements, target / Path(requirements).name)
    if sample:
        sample = _check_sample(sample, data.get("inputs", {}))
        write_whole(target / SAMPLE_FILE, json.dumps(sample, indent=4).encode())
        data["sample"] = f"${{file:{SAMPLE_FILE}}}"
    file = target / FLEX_FILE
    write_whole(file, _yaml(data).encode())
    return file


def _locate(entry: str | Callable[..., Any], code: Path | None) -> tuple[str, Path, Any]:
    """``(module:name, folder, object)``."""
    if isinstance(entry, str):
        if code is None:
            raise UserErrorException("Code path is required when entry is a string.")
        if not code.is_dir():
            raise UserErrorException(f"Path {code.as_posix()} does not exist.")
        module, colon, name = entry.partition(":")
        if not colon:
            module, _, name = entry.rpartition(".")
        folder = code.resolve()
        with activated(folder):
            return f"{module}:{name}", folder, import_entry(f"{module}:{name}", folder)
    if not (inspect.isclass(entry) or inspect.isfunction(entry)):
        raise UserErrorException("Only support callable object or function as entry.")
    if code is not None:
        raise UserErrorException("When entry is a callable object or function, code must be left None.")
    file = Path(inspect.getfile(entry)).resolve()
    return f"{file.stem}:{entry.__name__}", file.parent, entry


def _describe_entry(entry: Entry, found: Any, include_primitive_output: bool) -> dict[str, Any]:
    meta: dict[str, Any] = {"inputs": _ports(entry.inputs)}
    if entry.outputs:
        meta["outputs"] = _ports(entry.outputs)
    elif include_primitive_output:
        function = found.__call__ if inspect.isclass(found) else found
        kind = ValueType.from_type(inspect.signature(function, eval_str=True).return_annotation)
        meta["outputs"] = {"output": {"type": _text(kind)}}
    if entry.init:
        meta["init"] = _ports(entry.init)
    return meta


def _describe_prompty(prompty: Any, include_primitive_output: bool) -> dict[str, Any]:
    meta = {"inputs": _plain_types(prompty._get_input_signature())}
    outputs = prompty._get_output_signature(include_primitive_output)
    if outputs:
        meta["outputs"] = _plain_types(outputs)
    model: dict[str, Any] = {"api": {"type": "string"}, "configuration": {"type": "object"}}
    model |= {"parameters": {"type": "object"}, "response": {"type": "string", "default": "first"}}
    return {**meta, "init": model}


def _ports(ports: Mapping[str, FlowInput | FlowOutput]) -> dict[str, dict[str, Any]]:
    result = {}
    for name, port in ports.items():
        result[name] = {"type": _text(port.type)}
        if isinstance(port, FlowInput) and port.has_default:
            result[name]["default"] = port.default
        if port.description:
            result[name]["description"] = port.description
    return result


def _text(kind: ValueType | str) -> str:
    return str(kind.value) if isinstance(kind, ValueType) else str(kind)


def _plain_types(ports: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {**port, "type": _NAMES.get(str(port.get("type")), port.get("type"))} if isinstance(port, dict) else port
        for name, port in ports.items()
    }


def _merged(meta: dict[str, Any], signature: Mapping[str, Any]) -> dict[str, Any]:
    """The code's ports with what the user says of them on top; the code decides which there are, and their types."""
    unknown = set(signature) - {"inputs", "outputs", "init"}
    if unknown:
        raise ValidationException(f"Extra keys in signature: {', '.join(sorted(unknown))}.")
    merged = dict(meta)
    for part, ports in signature.items():
        known = meta.get(part, {})
        extra = set(ports) - set(known)
        if extra and (known or part != "outputs"):
            raise ValidationException(
                f"Ports from signature: {', '.join(sorted(extra))} are not in the code, whose {part} are: "
                f"{', '.join(known) or 'none'}."
            )
        merged[part] = dict(known)
        for name, port in _plain_types(ports).items():
            kind = known.get(name, {}).get("type")
            if kind not in (None, "object") and port.get("type") not in (None, kind):
                raise ValidationException(
                    f"Provided signature of {name} does not match the entry: the code says {kind}, "
                    f"the signature {port.get('type')}."
                )
            merged[part][name] = {**known.get(name, {}), **port}
    return merged


def _environment(requirements: str | None, image: str | None, folder: Path) -> dict[str, str]:
    result = {}
    if requirements:
        name = Path(requirements).name
        if (folder / name).exists():
            raise UserErrorException(f"Specified requirements file {name} already exists in code, please rename it.")
        result["python_requirements_txt"] = name
    elif (folder / "requirements.txt").is_file():
        result["python_requirements_txt"] = "requirements.txt"
    if image:
        result["image"] = image
    return result


def _copy_code(folder: Path, target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise UserErrorException(f"Target path {target.as_posix()} exists and is not empty.")
    shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))


def _check_sample(sample: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(sample, str | PathLike):
        sample = json.loads(Path(sample).read_text(encoding="utf-8"))
    values = sample.get("inputs", {}) if isinstance(sample, dict) else None
    if not isinstance(values, dict):
        raise UserErrorException("Sample must be a dict.")
    if set(values) != set(inputs):
        raise UserErrorException(f"Sample keys {', '.join(values)} do not match the inputs {', '.join(inputs)}.")
    return dict(sample)


def _yaml(data: Mapping[str, Any]) -> str:
    import yaml  # only to write

    text: str = yaml.safe_dump(dict(data), sort_keys=True, allow_unicode=True)
    return text
