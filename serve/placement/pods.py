"""From a deployment's settings to those of its pods: pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from promptflow.serving.export.manifests import Pods
from serve.endpoints.spec import Probe, Spec
from serve.placement.key import READY

GRACE = 10.0  # seconds beside the longest request that a pod has to end
MEBI = 2**20
LEAST_MEMORY = 256 * MEBI  # of a process with its libraries; the model comes on top
CPU = "250m"
STARTUP_PERIOD = 2  # seconds
MOST_AT_ONCE = 1000  # that KServe takes, unless its operator says otherwise


def pods_of(spec: Spec, variables: Mapping[str, str], model_bytes: int, claim: str = "") -> Pods:
    """``variables`` are the pods' own; ``model_bytes`` is how large the model's files are."""
    requests, limits = _resources(spec, model_bytes)
    return Pods(
        startup={"periodSeconds": STARTUP_PERIOD, "failureThreshold": _starts(spec.readiness)},
        readiness={**_probe(spec.readiness), "successThreshold": spec.readiness.success},
        liveness=_probe(spec.liveness),
        ready_path=READY,
        env=dict(variables),
        requests=requests,
        limits=limits,
        least=spec.min_instances,
        most=max(spec.min_instances, spec.max_instances, 1),
        at_once=max(1, math.ceil(spec.target_in_flight)),
        concurrency=min(spec.request.concurrency, MOST_AT_ONCE),
        timeout=math.ceil(spec.request.timeout),
        grace=math.ceil(spec.request.timeout + GRACE),
        claim=claim,
    )


def _probe(probe: Probe) -> dict[str, int]:
    return {
        "periodSeconds": max(1, round(probe.period)),
        "timeoutSeconds": max(1, round(probe.timeout)),
        "failureThreshold": probe.failure,
    }


def _starts(readiness: Probe) -> int:
    """Probes in the time that an instance may take to be ready, as the supervisor counts it."""
    return max(1, math.ceil((readiness.initial_delay + readiness.period * readiness.failure) / STARTUP_PERIOD))


def _resources(spec: Spec, model_bytes: int) -> tuple[dict[str, str], dict[str, str]]:
    """What ``resources`` in the YAML says, and where it is silent what the model needs."""
    given = spec.recorded.get("resources")
    asked, most = (_quantities(given, key) for key in ("requests", "limits"))
    need = LEAST_MEMORY + model_bytes
    if "memory" not in most:
        most["memory"] = _memory(spec.memory_limit or max(1024 * MEBI, 2 * need))
        asked.setdefault("memory", _memory(min(need, spec.memory_limit or need)))
    if "cpu" not in most:
        asked.setdefault("cpu", CPU)
    # What has a limit and no request gets the limit as its request, from Kubernetes itself.
    return asked, most


def _quantities(given: Any, key: str) -> dict[str, str]:
    found = given.get(key) if isinstance(given, Mapping) else None
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _memory(size: int) -> str:
    return f"{max(1, math.ceil(size / MEBI))}Mi"
