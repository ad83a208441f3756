"""A body for a first request to a flow."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from promptflow.contracts.tool import ValueType
from promptflow.exceptions import ValidationException

SAMPLES = "samples.json"
_VALUES: dict[Any, Any] = {
    ValueType.INT: 1,
    ValueType.DOUBLE: 1.0,
    ValueType.BOOL: True,
    ValueType.LIST: [],
    ValueType.OBJECT: {},
}


def curl(url: str, file: Path, definition: Any) -> str:
    """The command that asks a flow for the first time; ``definition`` is what its ``file`` says."""
    body = json.dumps(example(file, definition), ensure_ascii=False)
    return f"curl {url}/score -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def example(file: Path, definition: Any) -> Any:
    """The first of the samples beside a flow, else something for every input that must be given. Functions and classes
    tell of theirs only when they are imported."""
    samples = samples_of(file.parent)
    if isinstance(samples, list) and samples:
        return samples[0]
    missing = [input for input in definition.inputs.values() if must_be_given(definition.kind, input)]
    return {input.name: _VALUES.get(input.type, "...") for input in missing}


def must_be_given(kind: str, input: Any) -> bool:
    """Whether a request has to hold this input."""
    # In a DAG, `default:` without a value is no default, as it always was; a function's `=None` is one.
    return not input.has_default or (kind == "dag" and input.default is None)


def samples_of(folder: Path) -> Any:
    """What ``samples.json`` of a flow's folder holds, if there is one."""
    file = folder / SAMPLES
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValidationException(f"{file} is not valid JSON: {error}.", location=str(file)) from error
