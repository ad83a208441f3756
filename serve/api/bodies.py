"""The bodies of the REST API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Percent = Annotated[int, Field(ge=0, le=100)]
Text = Annotated[str, Field(max_length=8192)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EndpointBody(Body):
    """An endpoint as it is to be. ``revision`` of the one that was read; 0 for a new one."""

    auth_mode: Literal["key", "aml_token", "aad_token"] = "key"
    description: Text = ""
    tags: dict[str, Text] = {}
    properties: dict[str, Text] = {}
    revision: int = Field(0, ge=0, le=2**31)


class YamlBody(BaseModel):
    """The keys of a YAML file, beside ``revision``: of what was read, or 0 for something new. Paths are whole ones of
    the server's machine."""

    model_config = ConfigDict(extra="allow")

    revision: int = Field(0, ge=0, le=2**31)

    def document(self) -> dict[str, Any]:
        """The keys of the file."""
        return dict(self.model_extra or {})


class DeploymentBody(YamlBody):
    """What `pf deployment create -f` takes, as JSON: model, code_configuration, flow, engine, environment,
    instance_count, request_settings, ..."""


class BatchDeploymentBody(YamlBody):
    """What `pf batch-deployment create -f` takes, as JSON: model, code_configuration, flow, settings, ..."""


class Defaults(Body):
    deployment_name: str = Field(default="", max_length=64)


class BatchEndpointBody(EndpointBody):
    """A batch endpoint as it is to be. ``revision`` of the one that was read; 0 for a new one."""

    auth_mode: Literal["key", "aml_token", "aad_token"] = "aad_token"
    defaults: Defaults = Defaults()


class JobBody(BaseModel):
    """As Azure's batch endpoints take it: in ``properties`` are InputData, a mapping of names to {JobInputType, Uri} or
    {JobInputType: Literal, Value}, and what else is to be of the job: OutputData, MiniBatchSize, ErrorThreshold, ..."""

    properties: dict[str, Any]


class TrafficBody(Body):
    """``mirror`` is left as it is where it is not given."""

    traffic: dict[str, Percent]
    mirror: dict[str, Percent] | None = None


class ScaleBody(Body):
    """What is not given stays as it is. ``instance_count`` sets both ends of the range."""

    instance_count: int | None = Field(None, ge=0, le=1000)
    min_instances: int | None = Field(None, ge=0, le=1000)
    max_instances: int | None = Field(None, ge=1, le=1000)
    target_in_flight: float | None = Field(None, gt=0, le=100000)
    idle_seconds: float | None = Field(None, ge=0, le=10**9)


class EndpointAnswer(BaseModel):
    name: str
    auth_mode: str
    traffic: dict[str, int]
    mirror: dict[str, int]
    description: str
    tags: dict[str, str]
    properties: dict[str, str]
    revision: int
    created: str
    updated: str
    scoring_uri: str
    deployments: list[str]


class InstanceStatus(BaseModel):
    instance: int
    phase: str
    current: bool
    pid: int
    in_flight: int
    seconds: float
    ready_after: float
    log: str


class DeploymentStatus(BaseModel):
    """``state``: Ready, Updating, ScaledToZero, Failed (once or twice) or CrashLoop. ``message`` and ``log`` are of the
    last instance that failed; ``warnings`` of what loads and may not be what it was, as a model of another version."""

    endpoint: str
    name: str
    revision: int
    state: str
    instances_wanted: int
    instances_ready: int
    instances: list[InstanceStatus]
    in_flight: int
    in_line: int
    failures: int
    message: str
    log: list[str]
    warnings: list[str]


class DeploymentAnswer(BaseModel):
    endpoint: str
    name: str
    revision: int
    created: str
    updated: str
    description: str
    tags: dict[str, str]
    properties: dict[str, str]
    spec: dict[str, Any]


class KeptDeployment(DeploymentAnswer):
    """``notes``: what in the body has no meaning here, or another one than in the cloud."""

    notes: list[str]


class BatchEndpointAnswer(BaseModel):
    """Jobs are sent to ``scoring_uri``."""

    name: str
    auth_mode: str
    defaults: Defaults
    description: str
    tags: dict[str, str]
    properties: dict[str, str]
    revision: int
    created: str
    updated: str
    scoring_uri: str
    deployments: list[str]


class BatchDeploymentAnswer(DeploymentAnswer):
    """``default``: whether it gets the jobs that name no deployment."""

    settings: dict[str, Any]
    default: bool


class KeptBatchDeployment(BatchDeploymentAnswer):
    """``notes``: what in the body has no meaning here, or another one than in the cloud."""

    notes: list[str]


class JobAnswer(BaseModel):
    """What `pf job show` prints; and ``id`` and ``properties``, where clients of Azure look for the status."""

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    status: str
    properties: dict[str, Any]


class KeysAnswer(BaseModel):
    primary: str
    secondary: str


class TokenAnswer(BaseModel):
    """Times are seconds since 1970."""

    token: str
    expires: int
    refresh_after: int


class LogAnswer(BaseModel):
    instance: int
    lines: list[str]


class ErrorDetail(BaseModel):
    code: str
    message: str


class ErrorAnswer(BaseModel):
    error: ErrorDetail
