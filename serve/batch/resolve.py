"""A batch deployment's file, with what the workspace adds: the model's files, and copies of what may change."""

from __future__ import annotations

from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from serve.batch.deployment_file import BatchDeploymentFile
from serve.batch.records import BatchDeployment
from serve.endpoints.records import Deployment
from serve.endpoints.resolve import resolve
from serve.endpoints.spec import LLM


def resolve_batch(
    file: BatchDeploymentFile, workspace: Workspace, current: BatchDeployment | None = None
) -> BatchDeployment:
    """The deployment to be kept. ``current`` is the one that it replaces: its copies are not made again."""
    before = Deployment(current.endpoint, current.name, current.spec) if current else None
    found = resolve(file.shared, workspace, before)
    if found.spec.kind == LLM:
        raise ValidationException(
            "A language model alone goes through no files.",
            hint="deploy a flow that asks it, or give it a code_configuration with a scoring_script",
        )
    return BatchDeployment(
        found.endpoint, found.name, found.spec, file.settings, file.shared.description, file.shared.tags,
        file.shared.properties, file.recorded, current.revision if current else 0,
    )  # fmt: skip
