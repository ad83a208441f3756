"""The YAML of a batch deployment, as `az ml` takes it: with ``settings``, or with its keys at the top, as it once was.

What it shares with online deployments (model, code, environment) is read as theirs is. Ours: ``flow``,
``allow_pickle``, ``options``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.schemas import AssetFileError
from promptflow.contracts.flow import Problem
from promptflow.exceptions import ValidationException
from promptflow.workspace.sizes import parse_size
from promptflow.workspace.yamlfile import Marks
from serve.batch.records import LEVELS, OUTPUT_ACTIONS, BatchDeployment, Settings
from serve.endpoints.deployment_file import DeploymentFile, read_deployment
from serve.endpoints.document import deployment_document
from serve.endpoints.fields import Fields, Findings
from serve.endpoints.records import Deployment

SETTINGS = (
    "mini_batch_size", "max_concurrency_per_instance", "output_action", "output_file_name", "error_threshold",
    "retry_settings", "logging_level",
)  # fmt: skip
# What only the cloud has: kept, and without effect.
RECORDED = ("compute", "resources", "code_path", "identity")
_SHARED = (
    "name", "endpoint_name", "description", "tags", "properties", "model", "code_configuration", "environment",
    "environment_variables", "flow", "options", "allow_pickle",
)  # fmt: skip
_PRINTED = (
    "$schema", "id", "kind", "type", "provisioning_state", "creation_context", "resourceGroup", "revision", "created",
    "updated",
)  # fmt: skip
KEYS = (*_SHARED, "settings", *SETTINGS, "type", *RECORDED)
_WORKERS, _RETRIES = 1000, 100


@dataclass(frozen=True)
class BatchDeploymentFile:
    """What a file says. ``shared`` is what online deployments have, too; of what is missing there are defaults."""

    shared: DeploymentFile
    settings: Settings = field(default_factory=Settings)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_batch_deployment(data: Mapping[str, Any], folder: Path, marks: Marks | None = None) -> BatchDeploymentFile:
    """The deployment that a mapping describes; paths are relative to ``folder``. AssetFileError with all that is
    wrong."""
    data = _today(data)
    findings = Findings(marks)
    own = {key: value for key, value in data.items() if key not in _SHARED}
    fields = Fields(own, findings)
    fields.keep(*_PRINTED)
    if fields.choice("type", "model", ("model", "pipeline")) == "pipeline":
        fields.problem("type", "Deployments of pipelines are not run yet.", "deploy its model, or a flow")
    section = fields.section("settings")
    settings = _settings(section, fields)
    variables = section.texts("environment_variables")
    section.end("'settings'")
    recorded = fields.keep(*RECORDED)
    fields.end("A batch deployment")
    both = {**variables, **(data.get("environment_variables") or {})} if variables else None
    shared = {key: value for key, value in data.items() if key in _SHARED}
    if both is not None:
        shared["environment_variables"] = both
    try:
        found = read_deployment(shared, folder, marks)
    except AssetFileError as error:
        findings.problems.extend(error.problems)
        findings.check()
        raise
    findings.check()
    return BatchDeploymentFile(found, settings, recorded, (*found.warnings, *findings.warnings))


def batch_document(deployment: BatchDeployment) -> dict[str, Any]:
    """The YAML of a deployment, which `read_batch_deployment` reads; its paths are those of the copies."""
    online = Deployment(
        deployment.endpoint, deployment.name, deployment.spec, deployment.description, deployment.tags,
        deployment.properties,
    )  # fmt: skip
    shared = {key: value for key, value in deployment_document(online).items() if key in _SHARED}
    return {**shared, "settings": settings_document(deployment.settings), **deployment.recorded}


def settings_document(settings: Settings) -> dict[str, Any]:
    """Settings as the YAML has them."""
    size = f"{settings.mini_batch_bytes}b" if settings.mini_batch_bytes else settings.mini_batch_size
    return {
        "mini_batch_size": size,
        "max_concurrency_per_instance": settings.workers,
        "output_action": settings.output_action,
        "output_file_name": settings.output_file,
        "error_threshold": settings.error_threshold,
        "retry_settings": {"max_retries": settings.max_retries, "timeout": settings.timeout},
        "logging_level": settings.logging_level,
    }


def read_settings(data: Mapping[str, Any]) -> Settings:
    """Settings alone, as `settings_document` wrote them and a job's caller may have changed them."""
    findings = Findings()
    fields = Fields(data, findings)
    settings = _settings(fields, Fields({}, findings))
    fields.end("'settings'")
    unknown = [Problem(warning, 0, 0, "", "") for warning in findings.warnings]
    findings.problems.extend(unknown)
    findings.check()
    return settings


def _settings(section: Fields, top: Fields) -> Settings:
    """Each is in ``settings``, or at the top."""

    def at(key: str) -> Fields:
        for fields in (section, top):
            fields.keep(key)
        return section if section.has(key) or not top.has(key) else top

    size, size_bytes = at("mini_batch_size").read("mini_batch_size", (10, 0), _batch_size)
    retry = at("retry_settings").section("retry_settings")
    found = Settings(
        size,
        size_bytes,
        at("max_concurrency_per_instance").whole("max_concurrency_per_instance", 1, 1, _WORKERS),
        at("output_action").choice("output_action", OUTPUT_ACTIONS[0], OUTPUT_ACTIONS),
        at("output_file_name").read("output_file_name", "predictions.csv", _file_name),
        at("error_threshold").read("error_threshold", -1, _threshold),
        retry.whole("max_retries", 3, 0, _RETRIES),
        retry.number("timeout", 30.0, 0.001),
        at("logging_level").choice("logging_level", "info", LEVELS),
    )
    retry.end("'retry_settings'")
    return found


def _batch_size(value: Any) -> tuple[int, int]:
    """Files or rows, or the bytes of a table: ``10``, ``10kb``."""
    text = str(value).strip()
    if text.isdigit() and not isinstance(value, bool):
        if int(text) < 1:
            raise ValidationException("is 0, and is 1 or more.")
        return int(text), 0
    size = parse_size(text) or 0
    if size < 1:
        raise ValidationException(f"is {value!r}, and is a number of files, or of bytes as 10kb.")
    return 10, size


def _file_name(value: Any) -> str:
    text = str(value)
    if not text or "/" in text or "\\" in text or text.startswith(".") or not text.isprintable():
        raise ValidationException(f"is {text!r}, and is the name of a file, without a folder.")
    return text


def _threshold(value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = -2
    if number < -1 or isinstance(value, bool):
        raise ValidationException(f"is {value!r}, and is a whole number of at least -1.", hint="-1 ignores all")
    return number


def _today(data: Mapping[str, Any]) -> dict[str, Any]:
    """The first form of the YAML had ``local_path`` for ``path``, and ``code`` as a mapping of it."""
    found = dict(data)
    model, code = found.get("model"), found.get("code_configuration")
    if isinstance(model, Mapping) and "local_path" in model:
        rest = {key: value for key, value in model.items() if key != "local_path"}
        found["model"] = {**rest, "path": model["local_path"]}
    inner = code.get("code") if isinstance(code, Mapping) else None
    if isinstance(code, Mapping) and isinstance(inner, Mapping) and "local_path" in inner:
        found["code_configuration"] = {**code, "code": inner["local_path"]}
    return found
