"""Changes that the API makes to records."""

from __future__ import annotations

from dataclasses import replace

from promptflow.exceptions import ValidationException
from serve.api.bodies import ScaleBody
from serve.endpoints.records import Deployment


def scaled(deployment: Deployment, body: ScaleBody) -> Deployment:
    """The deployment with other numbers of instances."""
    values = body.model_dump(exclude_none=True)
    if not values:
        raise ValidationException("Nothing to change: no number was given.")
    count = values.get("instance_count")
    if count is not None:
        values = {"min_instances": count, "max_instances": max(1, count), **values}
    spec = replace(deployment.spec, **values)
    if spec.min_instances > spec.max_instances:
        raise ValidationException(
            f"There cannot be at least {spec.min_instances} and at most {spec.max_instances} instances."
        )
    return replace(deployment, spec=spec)
