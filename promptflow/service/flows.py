"""``/v1.0/Flows``: a flow tried once, and what it takes. Its code runs in a process of its own."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from promptflow.client import PFClient
from promptflow.exceptions import PathNotFoundError, ValidationException
from promptflow.service.answers import answered
from promptflow.service.parent import in_child

FOLDER = ".promptflow"


class Tried(BaseModel):
    """What a flow is tried with."""

    inputs: dict[str, Any] | None = None
    variant: str | None = None
    node: str | None = None
    environment_variables: dict[str, Any] | None = None
    init: dict[str, Any] | None = None
    output_path: str | None = None


def routes(client: PFClient) -> APIRouter:
    """The routes of flows."""
    router = APIRouter(prefix="/v1.0/Flows", tags=["Flows"])
    workspace = client.workspace

    @router.post("/test")
    def test(flow: str, data: Tried | None = None) -> Response:
        """Run a flow, or one node of it, once. `flow` is its path in URL-safe base64."""
        path, given = decoded(flow), (data or Tried()).model_dump(exclude_none=True)
        folder = Path(given.pop("output_path", None) or _folder(path) / str(uuid.uuid4())).resolve()
        in_child(workspace, {"verb": "test", "flow": str(path), "output_path": str(folder), **given})
        return answered({"flow": _kept(folder)})

    @router.post("/infer_signature")
    def infer_signature(source: str, include_primitive_output: bool = False) -> Response:
        """What a flow takes and returns. `source` is its path in URL-safe base64."""
        asked = {"verb": "signature", "flow": str(decoded(source)), "primitive": include_primitive_output}
        return answered(in_child(workspace, asked))

    return router


def decoded(text: str) -> Path:
    """The path of a flow that is there."""
    try:
        path = Path(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode())
        is_there = path.exists()
    except (binascii.Error, ValueError, OSError):
        raise ValidationException("The flow is no path in URL-safe base64.") from None
    if not path.is_absolute() or not is_there:
        raise PathNotFoundError(f"There is no flow {path}.", hint="its path on this machine, from the root on")
    return path


def _folder(flow: Path) -> Path:
    """Where what comes of a test is kept: beside the flow."""
    if flow.suffix == ".prompty":
        return flow.parent / FOLDER / flow.stem
    return (flow if flow.is_dir() else flow.parent) / FOLDER


def _kept(folder: Path) -> dict[str, Any]:
    detail = next(folder.glob("*.detail.json"), None)
    log = next(folder.glob("*.log"), None)
    return {
        "detail": json.loads(detail.read_bytes()) if detail else {},
        "log": log.read_text(encoding="utf-8", errors="replace") if log else "",
        "output_path": str(folder),
    }
