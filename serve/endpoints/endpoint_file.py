"""The YAML of an online endpoint, as `az ml` takes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace.yamlfile import Marks
from serve.endpoints.fields import Fields, Findings
from serve.endpoints.names import check_endpoint_name
from serve.endpoints.records import AAD_TOKEN, AUTH_MODES, KEY, Endpoint
from serve.endpoints.traffic import share

# What `az ml online-endpoint show` prints, and what only the cloud has: kept, and without effect.
RECORDED = ("identity", "public_network_access", "compute", "location")
_PRINTED = (
    "$schema", "id", "kind", "provisioning_state", "scoring_uri", "openapi_uri", "resourceGroup", "creation_context",
    "revision", "created", "updated", "deployments",
)  # fmt: skip
KEYS = (
    "name", "auth_mode", "traffic", "mirror_traffic", "description", "tags", "properties", *RECORDED,
)  # fmt: skip


@dataclass(frozen=True)
class EndpointFile:
    """What a file says. ``given`` are the fields of `Endpoint` that it names: an update leaves the others."""

    endpoint: Endpoint
    given: frozenset[str]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def over(self, current: Endpoint) -> Endpoint:
        """An endpoint with what the file says."""
        return replace(current, **{name: getattr(self.endpoint, name) for name in self.given})


def read_endpoint(data: Mapping[str, Any], marks: Marks | None = None) -> EndpointFile:
    """The endpoint that a mapping describes. AssetFileError with all that is wrong."""
    findings = Findings(marks)
    fields = Fields(data, findings)
    name = fields.read("name", "", lambda value: check_endpoint_name(str(value)))
    if not fields.has("name"):
        fields.problem("", "An endpoint needs a name.", "give it as `name:` or with --name")
    endpoint = Endpoint(
        name,
        fields.choice("auth_mode", KEY, AUTH_MODES),
        _shares(fields.section("traffic")),
        _shares(fields.section("mirror_traffic")),
        fields.text("description"),
        fields.texts("tags"),
        fields.texts("properties"),
        fields.keep(*RECORDED),
    )
    total = sum(endpoint.traffic.values())
    if total > 100:
        fields.problem("traffic", f"The shares of traffic add up to {total}.", "they add up to 100, or to 0")
    fields.keep(*_PRINTED)
    fields.end("An endpoint")
    findings.check()
    given = {"mirror" if key == "mirror_traffic" else key for key in KEYS if fields.has(key)}
    named = frozenset(given & {"auth_mode", "traffic", "mirror", "description", "tags", "properties"})
    if endpoint.recorded:
        named |= {"recorded"}
    return EndpointFile(endpoint, named, tuple(_notes(endpoint)), tuple(findings.warnings))


def _shares(fields: Fields) -> dict[str, int]:
    found = {}
    for name, value in fields.data.items():
        try:
            found[name] = share(name, value)
        except ValidationException as error:
            fields.problem(name, error.message, error.hint)
    return found


def _notes(endpoint: Endpoint) -> list[str]:
    notes = []
    if endpoint.auth_mode == AAD_TOKEN:
        notes.append("auth_mode aad_token: there is no directory here; it takes tokens of its own, as aml_token does")
    if str(endpoint.recorded.get("public_network_access", "")).lower() == "enabled":
        notes.append("public_network_access is kept, and without effect: the server's --host decides who can connect")
    return notes
