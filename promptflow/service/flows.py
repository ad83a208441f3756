"""``/v1.0/Flows``: a flow tried once, and what it takes. Its code runs in a process of its own."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import Response

from promptflow.client import PFClient
from promptflow.exceptions import PathNotFoundError, SystemErrorException, UserErrorException, ValidationException
from promptflow.service.answers import answered
from promptflow.workspace import Workspace
from promptflow.workspace.home import DATABASE_VARIABLE, HOME_VARIABLE

FOLDER = ".promptflow"
_GIVEN = ("inputs", "variant", "node", "environment_variables", "init")


def routes(client: PFClient) -> APIRouter:
    """The routes of flows."""
    router = APIRouter(prefix="/v1.0/Flows", tags=["Flows"])
    workspace = client.workspace

    @router.post("/test")
    def test(flow: str, data: Annotated[dict[str, Any] | None, Body()] = None) -> Response:
        """Run a flow, or one node of it, once. `flow` is its path in URL-safe base64."""
        path, data = decoded(flow), data or {}
        folder = Path(data.get("output_path") or _folder(path) / str(uuid.uuid4())).resolve()
        asked = {"verb": "test", "flow": str(path), "output_path": str(folder)}
        in_child(workspace, asked | {key: data[key] for key in _GIVEN if data.get(key) is not None})
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


def in_child(workspace: Workspace, asked: dict[str, Any]) -> Any:
    """What `promptflow.service.child` says to that. UserErrorException for what went wrong in the flow."""
    words = [sys.executable, "-P", "-m", "promptflow.service.child"]
    done = subprocess.run(words, input=json.dumps(asked).encode(), capture_output=True, env=environment(workspace))
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        end = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise SystemErrorException(f"The process of the flow ended with {done.returncode}: {end}") from None
    if "error" in said:
        raise UserErrorException(said["error"], location=said["location"], hint=said["hint"])
    return said["answer"]


def environment(workspace: Workspace) -> dict[str, str]:
    """Of a process that works in a workspace."""
    return {**os.environ, HOME_VARIABLE: str(workspace.home), DATABASE_VARIABLE: workspace.database_url}


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
