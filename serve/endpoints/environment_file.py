"""The ``environment`` of a deployment: a reference, or an image with a conda file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.assets import check_name
from catalog.references import parse_reference
from promptflow.exceptions import PromptflowException, ValidationException
from promptflow.workspace.yamlfile import load_yaml
from serve.endpoints.fields import Fields
from serve.endpoints.spec import EnvironmentSpec

_CURATED_IMAGE = re.compile(r"mcr\.microsoft\.com/azureml/curated/(?P<name>[^:@/]+)(?:[:@].*)?")
_REQUIREMENTS = "requirements.txt"
_INCLUDED = re.compile(r"-(?:r|-requirement)[ =]\s*(?P<file>.+)")
_MOST_INCLUDED = 10


def read_environment(fields: Fields, folder: Path) -> tuple[EnvironmentSpec, list[str]]:
    """The environment of a deployment's fields, and what to tell the user of it."""
    value = fields.data.get("environment")
    if isinstance(value, Mapping):
        return _inline(fields.section("environment"), folder)
    return fields.read("environment", EnvironmentSpec(), _reference), []


def _reference(value: Any) -> EnvironmentSpec:
    text = str(value)
    try:
        found = parse_reference(text, "environment")
        check_name(found.name)
    except ValidationException:
        raise ValidationException(
            f"is {text!r}, which names no environment.",
            hint="azureml:NAME:VERSION, azureml:NAME@latest, or a mapping with conda_file",
        ) from None
    return EnvironmentSpec(name=text, curated=found.name)


def _inline(fields: Fields, folder: Path) -> tuple[EnvironmentSpec, list[str]]:
    image, build = fields.text("image"), fields.section("build")
    conda: dict[str, Any] = fields.read("conda_file", {}, lambda value: _conda(value, folder))
    nothing: tuple[str, ...] = ()
    requirements = fields.read("requirements", nothing, lambda value: _requirements(value, folder))
    if build.data and not conda and not requirements:
        requirements = build.read("path", nothing, lambda value: _of_context(folder / str(value)))
    build.keep("path", "dockerfile_path")
    build.end("A build")
    curated = _CURATED_IMAGE.fullmatch(image)
    spec = EnvironmentSpec(
        name=fields.text("name"),
        conda=conda,
        requirements=requirements,
        curated=curated["name"] if curated and not conda and not requirements else "",
        image=image or str(build.data.get("path", "")),
        inference=fields.mapping("inference_config"),
    )
    fields.keep("$schema", "version", "os_type", "description", "tags", "properties", "id")
    fields.end("An environment")
    return spec, _notes(spec)


def _notes(spec: EnvironmentSpec) -> list[str]:
    if not spec.image:
        return []
    packages = "its conda or pip file" if spec.conda or spec.requirements else ""
    packages = packages or (f"the environment {spec.curated}" if spec.curated else "this Python environment")
    return [f"the image {spec.image} is kept as text, no container is run: the packages are those of {packages}"]


def _conda(value: Any, folder: Path) -> dict[str, Any]:
    if isinstance(value, Mapping):
        data: Any = dict(value)
    else:
        path = folder / str(value).removeprefix("file:")
        if not path.is_file():
            raise ValidationException(f"There is no conda file {path}.")
        try:
            data, marks = load_yaml(path)
        except PromptflowException as error:
            raise ValidationException(f"The conda file: {error.message}") from error
        data = _with_included(data, path.parent) if isinstance(data, dict) else data
    if not isinstance(data, dict) or not isinstance(data.get("dependencies", []), list):
        raise ValidationException("The conda file has no list `dependencies`.", hint="dependencies: [python=3.12, …]")
    return data


def _with_included(conda: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With the lines of the requirements files that its pip section names: they lie beside it only now."""
    dependencies = conda.get("dependencies")
    if not isinstance(dependencies, list):
        return conda
    return {**conda, "dependencies": [_pip_included(one, folder) for one in dependencies]}


def _pip_included(dependency: Any, folder: Path) -> Any:
    if not isinstance(dependency, dict) or not isinstance(dependency.get("pip"), list):
        return dependency
    lines = [line for text in dependency["pip"] for line in _lines(str(text), folder)]
    return {**dependency, "pip": lines}


def _requirements(value: Any, folder: Path) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(line for text in value for line in _lines(str(text), folder))
    return _of_file(folder / str(value).removeprefix("file:"))


def _of_context(context: Path) -> tuple[str, ...]:
    """The requirements in the folder of a Dockerfile, which is not built here."""
    if not context.is_dir():
        raise ValidationException(f"There is no folder {context}.")
    return _of_file(context / _REQUIREMENTS) if (context / _REQUIREMENTS).is_file() else ()


def _of_file(path: Path, depth: int = 0) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # of the latter are bytes that are not UTF-8, and names that no file has
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValidationException(f"The requirements {path} cannot be read: {reason}.") from error
    return tuple(found for line in text.splitlines() for found in _lines(line, path.parent, depth))


def _lines(text: str, folder: Path, depth: int = 0) -> tuple[str, ...]:
    line = re.sub(r"(^|\s)#.*", "", text).strip()
    included = _INCLUDED.fullmatch(line)
    if included is None:
        return (line,) if line else ()
    if depth >= _MOST_INCLUDED:
        raise ValidationException(f"The requirements include each other, more than {_MOST_INCLUDED} deep.")
    return _of_file(folder / included["file"].strip(), depth + 1)
