"""Kubernetes and KServe manifests of what was built, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.serving.export.container import PORT, USER, Recipe

GRACE_SECONDS = 30
MOST_REPLICAS = 10
TARGET_CPU = 70  # per cent of what a replica asks for
TARGET_REQUESTS = 32  # at once, for each replica


@dataclass(frozen=True)
class Pods:
    """How pods are watched, sized and scaled: from ``least`` to ``most``, on Kubernetes one at least; in KServe as many
    as have ``at_once`` requests each. ``claim`` names a volume to be mounted where the model is. The defaults are a
    flow's."""

    startup: Mapping[str, int] = field(default_factory=lambda: {"periodSeconds": 2, "failureThreshold": 150})
    readiness: Mapping[str, int] = field(default_factory=lambda: {"periodSeconds": 5})
    liveness: Mapping[str, int] = field(default_factory=lambda: {"periodSeconds": 10, "failureThreshold": 3})
    ready_path: str = "/health"
    env: Mapping[str, str] = field(default_factory=lambda: {"PROMPTFLOW_WORKER_NUM": "1"})
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "250m", "memory": "256Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "1Gi"})
    least: int = 0
    most: int = MOST_REPLICAS
    at_once: int = TARGET_REQUESTS
    concurrency: int = 0  # requests that KServe gives a pod at most; 0: any number
    timeout: int = 0  # seconds that KServe waits for an answer; 0: what it does by itself
    grace: int = GRACE_SECONDS
    claim: str = ""


FLOW = Pods()


def kubernetes(recipe: Recipe, image: str, pods: Pods = FLOW) -> dict[str, dict[str, Any]]:
    """Deployment, Service and, unless their number is fixed, HorizontalPodAutoscaler, by the name of their file."""
    name = dns_name(recipe.name)
    labels = {"app.kubernetes.io/name": name}
    least = max(1, pods.least)
    scaled = least < pods.most
    # An autoscaler has the number: a manifest that has it, too, would undo its work whenever it is applied.
    fixed = {} if scaled else {"replicas": least}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            **fixed,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": pods.grace,
                    "securityContext": _POD_SECURITY,
                    "containers": [_container(recipe, image, name, pods)],
                    "volumes": _volumes(pods),
                },
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET_CPU}}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": pods.most,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }
    files = {"deployment.yaml": deployment, "service.yaml": service}
    return {**files, "autoscaler.yaml": scaler} if scaled else files


def kserve(recipe: Recipe, image: str, pods: Pods = FLOW) -> dict[str, dict[str, Any]]:
    """An InferenceService with a container of its own as predictor."""
    name = dns_name(recipe.name)
    container = {**_container(recipe, image, name, pods), "name": "kserve-container"}
    container["ports"] = [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}]
    del container["startupProbe"], container["livenessProbe"]  # the serverless mode of KServe takes readiness only
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "predictor": {
                "minReplicas": pods.least,
                "maxReplicas": pods.most,
                "scaleMetric": "concurrency",
                "scaleTarget": pods.at_once,
                **({"containerConcurrency": pods.concurrency} if pods.concurrency else {}),
                **({"timeout": pods.timeout} if pods.timeout else {}),
                "automountServiceAccountToken": False,
                "securityContext": _POD_SECURITY,
                "containers": [container],
                "volumes": _volumes(pods),
            }
        },
    }
    return {"inference-service.yaml": service}


def secret_name(recipe: Recipe) -> str:
    return recipe.secret or f"{dns_name(recipe.name)}-connections"


def dns_name(name: str) -> str:
    """A name as Kubernetes takes it: lower case letters, digits and dashes, at most 50 of them."""
    text = re.sub(r"[^a-z0-9]+", "-", name.lower())[:50].strip("-")
    return text if text[:1].isalpha() else f"flow-{text}".rstrip("-")


_POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _container(recipe: Recipe, image: str, name: str, pods: Pods) -> dict[str, Any]:
    ready = {"httpGet": {"path": pods.ready_path, "port": PORT}}
    from_secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret_name(recipe), "key": variable}}}
        for variable in recipe.variables
    ]
    model = [{"name": "model", "mountPath": "/app/model", "readOnly": True}] if pods.claim else []
    return {
        "name": name,
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [*({"name": variable, "value": value} for variable, value in pods.env.items()), *from_secret],
        "resources": {"requests": dict(pods.requests), "limits": dict(pods.limits)},
        "startupProbe": {**ready, **pods.startup},
        "readinessProbe": {**ready, **pods.readiness},
        "livenessProbe": {"httpGet": {"path": recipe.health, "port": PORT}, **pods.liveness},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *model],
    }


def _volumes(pods: Pods) -> list[dict[str, Any]]:
    claim = {"claimName": pods.claim, "readOnly": True}
    return [
        {"name": "tmp", "emptyDir": {}},
        *([{"name": "model", "persistentVolumeClaim": claim}] if pods.claim else []),
    ]
