"""Model YAML: that of `az ml` unchanged, and a few keys of ours (aliases, card, run, data, parent)."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptflow.contracts.flow import Problem
from promptflow.exceptions import ValidationException
from promptflow.workspace.yamlfile import Marks, load_yaml

TYPES = ("custom_model", "mlflow_model", "triton_model")
STAGES = ("None", "Development", "Staging", "Production", "Archived")
_TEXTS = ("name", "version", "path", "description", "stage", "card", "run")
_MAPPINGS = ("tags", "properties", "flavors", "system_metadata")
_LISTS = ("aliases", "data", "parent")
# What `az ml model show` prints and what only the cloud has: read over.
_IGNORED = (
    "$schema", "id", "creation_context", "datastore", "latest_version", "utc_time_created", "intellectual_property",
    "default_deployment_template", "allowed_deployment_templates", "resourceGroup", "digest", "size", "source",
)  # fmt: skip
_OLD = {"model_uri": "path", "local_path": "path", "asset_path": "path", "job_name": "run", "model_format": "type"}
KEYS = (*_TEXTS, "type", *_MAPPINGS, *_LISTS)


class AssetFileError(ValidationException):
    """Every error of one YAML file; ``problems`` holds one entry each."""

    def __init__(self, message: str = "", *, problems: tuple[Problem, ...] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.problems = problems


@dataclass(frozen=True)
class ModelSpec:
    """A model to be registered. ``path`` is relative to ``folder``; an empty ``version`` is the next number.

    ``run``, ``data`` and ``parent`` are its lineage: names of runs, of data and of models.
    """

    name: str
    path: str
    version: str = ""
    type: str = "custom_model"
    description: str | None = None
    stage: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    flavors: dict[str, Any] = field(default_factory=dict)
    system_metadata: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    card: str | None = None
    run: str | None = None
    data: tuple[str, ...] = ()
    parent: tuple[str, ...] = ()
    folder: Path = Path()


def load_model_file(path: str | Path) -> tuple[dict[str, Any], Marks]:
    """The mapping of a YAML file, not checked yet: `--set` comes between."""
    data, marks = load_yaml(path)
    if not isinstance(data, dict):
        raise ValidationException("A model is a mapping of keys to values.", location=marks.location())
    return data, marks


def model_spec(data: Mapping[str, Any], folder: Path, marks: Marks | None = None) -> ModelSpec:
    """The model that a mapping describes. AssetFileError with all that is wrong."""
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for key, value in data.items():
        name = _OLD.get(key, key)
        if key in _IGNORED or value is None:
            continue
        try:
            if name not in KEYS:
                raise ValidationException(f"A model has no {key!r}.", hint=_nearest(str(key), KEYS))
            values[name] = _read(name, value)
        except ValidationException as error:
            problems.append(_problem(error, marks, key))
            wrong.add(name)
    for key in ("name", "path"):
        if key not in values and key not in wrong:
            problems.append(_problem(ValidationException(f"A model needs {key!r}."), marks))
    if problems:
        raise AssetFileError(problems[0].message, problems=tuple(problems), location=marks.name if marks else "")
    return ModelSpec(**values, folder=folder)


def check_type(value: Any) -> str:
    """A type as `az ml` takes it: in any case, with - or _."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(value)).lower().replace("-", "_")
    text = text if text.endswith("_model") else f"{text}_model"
    if text not in TYPES:
        raise ValidationException(f"{value!r} is no type of models.", hint=f"one of: {', '.join(TYPES)}")
    return text


def check_stage(value: Any) -> str:
    """A stage: any short text; the usual ones in any case."""
    text = str(value).strip()
    if not text or len(text) > 64 or "\n" in text:
        raise ValidationException(f"{text[:80]!r} is no stage.", hint=f"such as {', '.join(STAGES)}")
    return next((stage for stage in STAGES if stage.lower() == text.lower()), text)


def check_texts(key: str, value: Any) -> dict[str, str]:
    """A mapping of texts; numbers and booleans are taken as they are written, whatever is nested as JSON."""
    if not isinstance(value, Mapping):
        raise ValidationException(f"'{key}' is a mapping of names to texts, not {type(value).__name__}.")
    return {str(name): _text(inner) for name, inner in value.items()}


def _read(key: str, value: Any) -> Any:
    if key == "type":
        return check_type(value)
    if key == "stage":
        return check_stage(value)
    if key in ("tags", "properties"):
        return check_texts(key, value)
    if key in _MAPPINGS:
        if not isinstance(value, Mapping):
            raise ValidationException(f"'{key}' is a mapping, not {type(value).__name__}.")
        return dict(value)
    if key in _LISTS:
        items = value if isinstance(value, list) else [value]
        return tuple(_text(item) for item in items)
    if isinstance(value, Mapping | list):
        raise ValidationException(f"'{key}' is a text, not {type(value).__name__}.")
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool | Mapping | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return "" if value is None else str(value)


def _nearest(word: str, words: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(words)}"


def _problem(error: ValidationException, marks: Marks | None, *keys: str) -> Problem:
    line, column = marks.at(*keys) if marks else (0, 0)
    elsewhere = marks.location(*keys) if marks and not line else ""  # such as a flag
    return Problem(error.message, line, column, hint=error.hint, where=elsewhere or (str(keys[0]) if keys else ""))
