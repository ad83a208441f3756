"""How people write which version of an asset they mean, in YAML and on command lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from promptflow.exceptions import ValidationException

_FORMS = (
    r"azureml://registries/(?P<registry>[^/]+)/{kinds}/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    r"azureml://registries/(?P<registry>[^/]+)/{kinds}/(?P<name>[^/]+)/labels/(?P<alias>[^/]+)",
    r"azureml:/?/?.*/workspaces/[^/]+/{kinds}/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    r"azureml:/?/?.*/workspaces/[^/]+/{kinds}/(?P<name>[^/]+)/labels/(?P<alias>[^/]+)",
    r"{kinds}:/(?P<name>[^/@]+)/(?P<version>[^/]+)",
    r"{kinds}:/(?P<name>[^/@]+)@(?P<alias>[^/@]+)",
    r"(?:azureml:|workspace/)?(?!azureml:)(?P<name>[^/:@]+):(?P<version>[^/:@]+)",
    r"(?:azureml:|workspace/)?(?P<name>[^/:@]+)@(?P<alias>[^/:@]+)",
    r"(?:azureml:|workspace/)?(?P<name>[^/:@]+)",
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_OURS = ("workspace/", "builtin/", "fake/")


@dataclass(frozen=True)
class Reference:
    """A name with a version, or an alias, or neither: then the newest is meant. ``registry``: not of this workspace."""

    name: str
    version: str = ""
    alias: str = ""
    registry: str = ""


def is_hub_id(text: str) -> bool:
    """Whether it has the form of a model's id on the hub, ``organisation/name``."""
    return bool(_HUB_ID.fullmatch(text)) and not text.startswith(_OURS)


def parse_reference(text: str, kind: str = "model") -> Reference:
    """``name``, ``name:version``, ``name@alias``, each with ``azureml:`` or ``workspace/`` before it; Azure's long
    forms ``azureml://registries/R/models/N/versions/V`` and MLflow's ``models:/N/V``. ValidationException."""
    several = kind if kind == "data" else f"{kind}s"
    for form in _FORMS:
        match = re.fullmatch(form.replace("{kinds}", several), text.strip())
        if match:
            return Reference(**match.groupdict(""))
    raise ValidationException(
        f"{text!r} does not name a {kind}." if several != kind else f"{text!r} names no {kind}.",
        hint=f"write name, name:version, name@alias or azureml:name:version, as {several} are registered",
    )
