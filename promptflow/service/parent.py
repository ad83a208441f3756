"""Asking `promptflow.service.child`: users' code does not run in the server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from promptflow.exceptions import SystemErrorException, UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.home import DATABASE_VARIABLE, HOME_VARIABLE


def in_child(workspace: Workspace, asked: dict[str, Any]) -> Any:
    """What `promptflow.service.child` says to that. UserErrorException for what went wrong in the flow."""
    words = [sys.executable, "-P", "-m", "promptflow.service.child"]
    done = subprocess.run(words, input=json.dumps(asked).encode(), capture_output=True, env=_environment(workspace))
    try:
        said = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        end = done.stderr.decode("utf-8", "replace").strip()[-2000:]
        raise SystemErrorException(f"The process of the flow ended with {done.returncode}: {end}") from None
    if "error" in said:
        raise UserErrorException(said["error"], location=said["location"], hint=said["hint"])
    return said["answer"]


def _environment(workspace: Workspace) -> dict[str, str]:
    """Of a process that works in a workspace."""
    return {**os.environ, HOME_VARIABLE: str(workspace.home), DATABASE_VARIABLE: workspace.database_url}
