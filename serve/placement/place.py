"""``instance_type: ray:gpu=1``: where instances of a deployment are to run, if not on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promptflow.exceptions import ValidationException

LOST = 75  # the exit code of what stands here for an instance whose node is gone, or the way there
CLUSTER = "auto"  # Ray's word for the cluster that RAY_ADDRESS names, or that this machine is a node of
_HINT = "ray:cpu=1, ray:gpu=1, ray:gpu=1,cpu=4"


@dataclass(frozen=True)
class RayPlace:
    """What one instance takes of a node of a Ray cluster."""

    cpu: float = 1.0
    gpu: float = 0.0
    other: Mapping[str, float] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """What `ray.remote` takes."""
        return {"num_cpus": self.cpu, "num_gpus": self.gpu, "resources": dict(self.other)}


def place_of(instance_type: Any) -> RayPlace | None:
    """None for a kind of machine in a cloud, which means this one. ValidationException for what no cluster has."""
    text = str(instance_type or "").strip()
    if not text.lower().startswith("ray:"):
        return None
    if text[4:].startswith("//"):
        raise ValidationException(
            f"is {text!r}: through Ray's client there is no way for requests, which go to the nodes directly.",
            hint=f"{_HINT}; start the server on a node, or with RAY_ADDRESS=HOST:PORT in the nodes' network",
        )
    wants = [_want(part.strip(), text) for part in text[4:].split(",") if part.strip()]
    named = dict(wants)
    if len(named) < len(wants):
        raise ValidationException(f"is {text!r}, which says something twice.", hint=_HINT)
    return RayPlace(named.pop("cpu", 1.0), named.pop("gpu", 0.0), named)


def _want(part: str, text: str) -> tuple[str, float]:
    name, _, number = part.partition("=")
    try:
        amount = float(number)
    except ValueError:
        amount = -1.0
    if not name or not 0 <= amount < 1e6:
        raise ValidationException(f"is {text!r}, and {part!r} is no amount of anything.", hint=_HINT)
    return name, amount
