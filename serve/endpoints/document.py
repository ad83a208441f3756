"""Endpoints and deployments as `az ml` prints them: what may be read back, and what `--set` changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve.endpoints.records import Deployment, Endpoint
from serve.endpoints.spec import FLOW, Collector, EnvironmentSpec, Probe, Spec


def endpoint_document(endpoint: Endpoint) -> dict[str, Any]:
    """The YAML of an endpoint."""
    return _without_empty(
        {
            "name": endpoint.name,
            "auth_mode": endpoint.auth_mode,
            "description": endpoint.description,
            "tags": dict(endpoint.tags),
            "properties": dict(endpoint.properties),
            **endpoint.recorded,
        }
    ) | {"traffic": dict(endpoint.traffic), "mirror_traffic": dict(endpoint.mirror)}


def deployment_document(deployment: Deployment) -> dict[str, Any]:
    """The YAML of a deployment; its paths are those of the copies."""
    spec = deployment.spec
    options = {name: value for name, value in spec.options.items() if name not in ("engine", "adapters", "batching")}
    return _without_empty(
        {
            "name": deployment.name,
            "endpoint_name": deployment.endpoint,
            "description": deployment.description,
            "tags": dict(deployment.tags),
            "properties": dict(deployment.properties),
            "model": _model(spec),
            "code_configuration": _code(spec),
            "flow": str(spec.code / spec.scoring_script) if spec.kind == FLOW and spec.code else None,
            "engine": spec.options.get("engine"),
            "options": options,
            "adapters": spec.options.get("adapters"),
            "batching": spec.options.get("batching"),
            "allow_pickle": spec.allow_pickle or None,
            "environment": _environment(spec.environment),
            "environment_variables": dict(spec.variables),
            "instance_count": spec.instance_count,
            "scale_settings": _scale(spec),
            "request_settings": {
                "request_timeout_ms": round(spec.request.timeout * 1000),
                "max_concurrent_requests_per_instance": spec.request.concurrency,
                "max_queue_wait_ms": round(spec.request.queue_wait * 1000),
            },
            "liveness_probe": _probe(spec.liveness),
            "readiness_probe": _probe(spec.readiness),
            "data_collector": _collector(spec.collector),
            "memory_limit": spec.memory_limit or None,
            "model_mount_path": spec.model_mount,
            **spec.recorded,
        }
    )


def _model(spec: Spec) -> Any:
    if spec.model_path is None:
        return spec.model or None
    if spec.kind == FLOW and not spec.model:
        return None  # the flow is its code
    if not spec.model:
        return _without_empty({"path": str(spec.model_path), "type": spec.model_type})
    registered = any(asset.startswith("model:") for asset in spec.assets)
    return f"azureml:{spec.model}" if registered else spec.model


def _code(spec: Spec) -> Any:
    if spec.kind == FLOW or spec.code is None:
        return None
    return _without_empty({"code": str(spec.code), "scoring_script": spec.scoring_script})


def _environment(spec: EnvironmentSpec) -> Any:
    if spec.name and spec.curated and not spec.image:
        return spec.name
    return _without_empty(
        {
            "name": spec.name,
            "image": spec.image,
            "conda_file": dict(spec.conda),
            "requirements": [*spec.requirements],
            "inference_config": dict(spec.inference),
        }
    )


def _scale(spec: Spec) -> dict[str, Any]:
    if spec.min_instances == spec.max_instances == spec.instance_count:
        return {"type": "default"} | ({"idle_seconds": spec.idle_seconds} if spec.idle_seconds else {})
    return {
        "type": "target_utilization",
        "min_instances": spec.min_instances,
        "max_instances": spec.max_instances,
        "target_in_flight": spec.target_in_flight,
        "idle_seconds": spec.idle_seconds,
    }


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "initial_delay": probe.initial_delay,
        "period": probe.period,
        "timeout": probe.timeout,
        "success_threshold": probe.success,
        "failure_threshold": probe.failure,
    }


def _collector(collector: Collector | None) -> Any:
    if collector is None:
        return None
    collections = {
        name: {"enabled": one.enabled}
        | (
            {"data": data}
            if (data := _without_empty({"name": one.name, "version": one.version, "path": one.path}))
            else {}
        )
        for name, one in collector.collections.items()
    }
    return {
        "collections": collections,
        "sampling_rate": collector.sampling_rate,
        "rolling_rate": collector.rolling_rate,
        "request_logging": {"capture_headers": [*collector.capture_headers]},
    }


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}
