"""The YAML of an online deployment, as `az ml` takes it, and a few keys of ours.

Ours: ``flow``, ``engine``, ``adapters``, ``batching``, ``options``, ``allow_pickle``, ``memory_limit``; in
``scale_settings`` ``min_instances: 0``, ``idle_seconds`` and ``target_in_flight``; in ``environment`` ``requirements``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.references import parse_reference
from catalog.schemas import check_type
from promptflow.exceptions import ValidationException
from promptflow.workspace.yamlfile import Marks
from serve.endpoints.environment_file import read_environment
from serve.endpoints.fields import Fields, Findings
from serve.endpoints.names import check_deployment_name, check_endpoint_name
from serve.endpoints.settings_file import read_collector, read_probe, read_request, read_scale
from serve.endpoints.spec import FLOW, LLM, MODEL, SCRIPT, Spec
from serve.placement.place import place_of

# What only the cloud has: kept, and without effect.
RECORDED = (
    "instance_type", "app_insights_enabled", "egress_public_network_access", "private_network_connection", "type",
    "resources",
)  # fmt: skip
PRINTED = (
    "$schema", "id", "provisioning_state", "creation_context", "resourceGroup", "revision", "created", "updated",
    "kind", "state", "message", "log", "warnings", "traffic", "mirror_traffic", "instances",
)  # fmt: skip
KEYS = (
    "name", "endpoint_name", "description", "tags", "properties", "model", "code_configuration", "environment",
    "environment_variables", "instance_count", "scale_settings", "request_settings", "liveness_probe",
    "readiness_probe", "data_collector", "model_mount_path", "flow", "engine", "options", "adapters",
    "batching", "allow_pickle", "memory_limit", *RECORDED,
)  # fmt: skip
_FOLDERS = ("./", "../", "/", "~", "file:")


@dataclass(frozen=True)
class ModelGiven:
    """A model as the YAML gives it: by ``reference``, or by ``path``; then it may have a name to be registered by."""

    reference: str = ""
    path: Path | None = None
    asset: Mapping[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return str(self.asset.get("type", ""))


@dataclass(frozen=True)
class DeploymentFile:
    """What a file says, all of it checked but what only the workspace knows. ``spec`` lacks what that adds: the model's
    files, the copy of the code, the settings of requests, whose defaults are those of the kind."""

    endpoint: str
    name: str
    spec: Spec
    model: ModelGiven | None = None
    code: Path | None = None
    flow: Path | None = None
    request: Mapping[str, float] = field(default_factory=dict)
    busy_percent: int = 70
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    given: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_deployment(data: Mapping[str, Any], folder: Path, marks: Marks | None = None) -> DeploymentFile:
    """The deployment that a mapping describes; paths are relative to ``folder``. AssetFileError with all that is
    wrong."""
    findings = Findings(marks)
    fields = Fields(data, findings)
    name, endpoint = _names(fields)
    model = _model(fields, folder)
    code, script = _code(fields, folder)
    flow = fields.read("flow", None, lambda value: _there(value, folder))
    if code is not None and flow is not None:
        fields.problem("flow", "A deployment has code_configuration or flow, not both.")
    if code is None and flow is None and model is None and not findings.problems:
        fields.problem("", "A deployment needs a model, or code_configuration, or flow.")
    environment, notes = read_environment(fields, folder)
    scale, percent = read_scale(fields)
    spec = Spec(
        kind=SCRIPT if script else FLOW if flow else LLM if fields.has("engine") else MODEL,
        scoring_script=script,
        environment=environment,
        variables=fields.texts("environment_variables"),
        liveness=read_probe(fields.section("liveness_probe")),
        readiness=read_probe(fields.section("readiness_probe")),
        memory_limit=fields.size("memory_limit") or _limits(fields),
        collector=read_collector(fields),
        allow_pickle=fields.truth("allow_pickle"),
        model_mount=fields.text("model_mount_path"),
        options=_options(fields, folder),
        recorded=fields.keep(*RECORDED),
        **scale,
    )
    fields.read("instance_type", None, place_of)
    description, tags, properties = fields.text("description"), fields.texts("tags"), fields.texts("properties")
    request = read_request(fields)
    fields.keep(*PRINTED)
    fields.end("A deployment")
    findings.check()
    given = frozenset(key for key in data if fields.has(key))
    return DeploymentFile(
        endpoint, name, spec, model, code, flow, request, percent, description, tags, properties, given,
        tuple(notes), tuple(findings.warnings),
    )  # fmt: skip


def _names(fields: Fields) -> tuple[str, str]:
    name = fields.read("name", "", lambda value: check_deployment_name(str(value)))
    endpoint = fields.read("endpoint_name", "", lambda value: check_endpoint_name(str(value)))
    if not fields.has("name"):
        fields.problem("", "A deployment needs a name.", "give it as `name:` or with --name")
    if not fields.has("endpoint_name"):
        fields.problem("", "A deployment needs an endpoint.", "give it as `endpoint_name:` or with --endpoint-name")
    return name, endpoint


def _model(fields: Fields, folder: Path) -> ModelGiven | None:
    if not isinstance(fields.data.get("model"), Mapping):
        return fields.read("model", None, lambda value: _model_reference(str(value), folder))
    inline = fields.section("model")
    path = inline.read("path", None, lambda value: _model_path(value, folder))
    asset = {
        "name": inline.text("name"),
        "version": inline.text("version"),
        "type": inline.read("type", "", check_type),
        "description": inline.text("description"),
        "tags": inline.texts("tags"),
        "properties": inline.texts("properties"),
        "flavors": inline.mapping("flavors"),
        "stage": inline.text("stage"),
    }
    inline.keep("$schema", "id", "datastore", "creation_context", "path")
    inline.end("A model")
    if not inline.has("path"):
        inline.problem("", "An inline model needs a path.", "or write model: azureml:NAME:VERSION")
        return None
    if not isinstance(path, Path):
        return ModelGiven(path or "")
    return ModelGiven(path=path, asset={key: value for key, value in asset.items() if value})


def _model_path(value: Any, folder: Path) -> Path | str:
    """The files of an inline model; its text where it refers to what is registered."""
    if str(value).startswith(("azureml:", "models:/")):
        return str(value)
    return _there(value, folder)


def _adapter(value: Any, folder: Path) -> str:
    text = str(value)
    return str(_there(text, folder)) if text.startswith(_FOLDERS) else text


def _model_reference(text: str, folder: Path) -> ModelGiven:
    if text.startswith(_FOLDERS):
        return ModelGiven(path=_there(text, folder))
    if text.startswith("azureml:"):
        try:
            parse_reference(text)
        except ValidationException as error:
            raise ValidationException(f"is {text!r}, which names no model.", hint=error.hint) from None
    return ModelGiven(text)


def _code(fields: Fields, folder: Path) -> tuple[Path | None, str]:
    section = fields.section("code_configuration")
    if not section.data:
        return None, ""
    code = section.read("code", None, lambda value: _folder(value, folder))
    script = section.text("scoring_script")
    needed = ("code",) if fields.has("model") else ("code", "scoring_script")  # code beside a model: its classes
    for key in needed:
        if not section.has(key):
            section.problem("", f"'code_configuration' needs '{key}'.")
    if code is not None and script and not _inside(code, script):
        there = sorted(file.name for file in code.glob("*.py"))[:5]
        hint = f"it holds {', '.join(there)}" if there else "it holds no Python files"
        section.problem("scoring_script", f"There is no file '{script}' in {code}.", hint)
    section.end("'code_configuration'")
    return code, script


def _inside(folder: Path, name: str) -> bool:
    file = folder / name
    try:
        return file.is_file() and file.resolve().is_relative_to(folder.resolve())
    except OSError:  # such as a name that no file can have
        return False


def _folder(value: Any, folder: Path) -> Path:
    text = str(value)
    if text.startswith(("azureml:", "git+", "http:", "https:")):
        raise ValidationException(f"is {text!r}, and is a folder of this machine.")
    path = _there(value, folder)
    if not path.is_dir():
        raise ValidationException(f"is {text!r}, which is a file.", hint=f"give its folder: {path.parent}")
    return path


def _there(value: Any, folder: Path) -> Path:
    """A path of the YAML that exists."""
    if not isinstance(value, str) or not value:
        raise ValidationException(f"is {value!r}, and is a path.")
    path = Path(os.path.abspath(folder / Path(value.removeprefix("file:")).expanduser()))
    if not path.exists():
        raise ValidationException(f"There is no file or folder {path}.", hint="paths are relative to the YAML file")
    return path


def _limits(fields: Fields) -> int:
    """The memory limit of Kubernetes' ``resources``, which are kept whole."""
    limits = fields.section("resources").section("limits")
    return limits.size("memory")


def _options(fields: Fields, folder: Path) -> dict[str, Any]:
    options: dict[str, Any] = dict(fields.mapping("options"))
    if fields.has("engine"):
        options["engine"] = fields.text("engine")
    adapters = fields.section("adapters")
    if adapters.data:
        options["adapters"] = {
            name: adapters.read(name, "", lambda value: _adapter(value, folder)) for name in adapters.data
        }
    batching = fields.section("batching")
    if batching.data:
        options["batching"] = {
            "max_size": batching.whole("max_size", 64, 1, 1_000_000),
            "latency_ms": batching.number("latency_ms", 100.0, 0.001, 3_600_000.0),
        }
        batching.end("'batching'")
    return options
