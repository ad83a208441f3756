"""Kubernetes and KServe manifests of a built flow, as data."""

from __future__ import annotations

import re
from typing import Any

from promptflow.serving.export.container import PORT, USER, Recipe

GRACE_SECONDS = 30
MOST_REPLICAS = 10
TARGET_CPU = 70  # per cent of what a replica asks for
TARGET_REQUESTS = 32  # at once, for each replica


def kubernetes(recipe: Recipe, image: str) -> dict[str, dict[str, Any]]:
    """Deployment, Service and HorizontalPodAutoscaler, by the name of their file."""
    name = dns_name(recipe.name)
    labels = {"app.kubernetes.io/name": name}
    container = _container(recipe, image, name)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "securityContext": _POD_SECURITY,
                    "containers": [container],
                    "volumes": [{"name": "tmp", "emptyDir": {}}],
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
            "minReplicas": 1,
            "maxReplicas": MOST_REPLICAS,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }
    return {"deployment.yaml": deployment, "service.yaml": service, "autoscaler.yaml": scaler}


def kserve(recipe: Recipe, image: str) -> dict[str, dict[str, Any]]:
    """An InferenceService with a container of its own as predictor."""
    name = dns_name(recipe.name)
    container = {**_container(recipe, image, name), "name": "kserve-container"}
    container["ports"] = [{"name": "http1", "containerPort": PORT, "protocol": "TCP"}]
    del container["startupProbe"], container["livenessProbe"]  # the serverless mode of KServe takes readiness only
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": name}},
        "spec": {
            "predictor": {
                "minReplicas": 0,
                "maxReplicas": MOST_REPLICAS,
                "scaleMetric": "concurrency",
                "scaleTarget": TARGET_REQUESTS,
                "automountServiceAccountToken": False,
                "securityContext": _POD_SECURITY,
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        },
    }
    return {"inference-service.yaml": service}


def secret_name(recipe: Recipe) -> str:
    return f"{dns_name(recipe.name)}-connections"


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


def _container(recipe: Recipe, image: str, name: str) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": PORT}}
    from_secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret_name(recipe), "key": variable}}}
        for variable in recipe.variables
    ]
    return {
        "name": name,
        "image": image,
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": [{"name": "PROMPTFLOW_WORKER_NUM", "value": "1"}, *from_secret],
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "startupProbe": {**health, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 3},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
