"""The YAML of a batch endpoint, as `az ml` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptflow.workspace.yamlfile import Marks
from serve.batch.records import BatchEndpoint
from serve.endpoints.fields import Fields, Findings
from serve.endpoints.names import check_deployment_name, check_endpoint_name
from serve.endpoints.records import AAD_TOKEN, AUTH_MODES

# What `az ml batch-endpoint show` prints, and what only the cloud has: kept, and without effect.
RECORDED = ("identity", "public_network_access", "location", "compute")
_PRINTED = (
    "$schema", "id", "kind", "type", "provisioning_state", "scoring_uri", "openapi_uri", "resourceGroup",
    "creation_context", "traffic", "revision", "created", "updated",
)  # fmt: skip
KEYS = ("name", "auth_mode", "defaults", "description", "tags", "properties", *RECORDED)


@dataclass(frozen=True)
class BatchEndpointFile:
    """What a file says. ``given`` are the fields of `BatchEndpoint` that it names: an update leaves the others."""

    endpoint: BatchEndpoint
    given: frozenset[str]
    warnings: tuple[str, ...] = ()

    def over(self, current: BatchEndpoint) -> BatchEndpoint:
        """An endpoint with what the file says."""
        return replace(current, **{name: getattr(self.endpoint, name) for name in self.given})


def read_batch_endpoint(data: Mapping[str, Any], marks: Marks | None = None) -> BatchEndpointFile:
    """The endpoint that a mapping describes. AssetFileError with all that is wrong."""
    findings = Findings(marks)
    fields = Fields(data, findings)
    name = fields.read("name", "", lambda value: check_endpoint_name(str(value)))
    if not fields.has("name"):
        fields.problem("", "A batch endpoint needs a name.", "give it as `name:` or with --name")
    defaults = fields.section("defaults")
    default = defaults.read("deployment_name", "", lambda value: check_deployment_name(str(value)))
    defaults.end("'defaults'")
    endpoint = BatchEndpoint(
        name,
        default,
        fields.choice("auth_mode", AAD_TOKEN, AUTH_MODES),
        fields.text("description"),
        fields.texts("tags"),
        fields.texts("properties"),
        fields.keep(*RECORDED),
    )
    fields.keep(*_PRINTED)
    fields.end("A batch endpoint")
    findings.check()
    given = {key for key in ("auth_mode", "description", "tags", "properties") if fields.has(key)}
    given |= {"default"} if fields.has("defaults") else set()
    given |= {"recorded"} if endpoint.recorded else set()
    return BatchEndpointFile(endpoint, frozenset(given), tuple(findings.warnings))


def endpoint_document(endpoint: BatchEndpoint) -> dict[str, Any]:
    """The YAML of an endpoint, which `read_batch_endpoint` reads."""
    values = {
        "name": endpoint.name,
        "auth_mode": endpoint.auth_mode,
        "description": endpoint.description,
        "tags": dict(endpoint.tags),
        "properties": dict(endpoint.properties),
        **endpoint.recorded,
    }
    given = {name: value for name, value in values.items() if value not in ("", {})}
    return given | {"defaults": {"deployment_name": endpoint.default} if endpoint.default else {}}
