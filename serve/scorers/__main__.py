"""``python -P -m serve.scorers --spec FILE --socket PATH``: one instance of a deployment, until it is told to stop.

The gateway's process starts it. What the user's code prints goes to this process's output, which is the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from promptflow.exceptions import PromptflowException
from serve.endpoints.spec import MODEL, SCRIPT, Spec
from serve.scorers.app import ScorerApp
from serve.scorers.base import LoadError, Scorer

NOT_LOADED = 3  # the exit code of what could not be loaded: it would not help to start it again at once


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    spec = Spec.from_json(json.loads(args.spec.read_bytes()))
    settle(spec, args.deployment)
    app = ScorerApp(scorer_of(spec, args.deployment), spec.request.concurrency)
    try:
        app.scorer.load()
    except PromptflowException as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr, flush=True)
        return NOT_LOADED
    app.ready = True
    asyncio.run(_serve(app, args.socket))
    app.close()
    return 0


def settle(spec: Spec, deployment: str) -> None:
    """The environment, working folder and path that the user's code finds."""
    code, model = spec.code, spec.model_path
    os.environ.update(spec.variables)
    given = {
        "AZUREML_MODEL_DIR": str(model.parent) if model else "",
        "AML_APP_ROOT": str(code or ""),
        "AZUREML_SOURCE_DIRECTORY": str(code or ""),
        "AZUREML_ENTRY_SCRIPT": spec.scoring_script,
        "AZUREML_DEPLOYMENT_NAME": deployment,
        "SCORING_TIMEOUT_MS": str(int(spec.request.timeout * 1000)),
    }
    os.environ.update({name: text for name, text in given.items() if text})
    if code is not None:
        os.chdir(code)
        sys.path.insert(0, str((code / (spec.scoring_script or "_")).parent))


def scorer_of(spec: Spec, deployment: str) -> Scorer:
    """The scorer for a kind, whose imports happen here: an instance has what it needs, and no more."""
    if spec.kind == SCRIPT:
        from serve.scorers.script import SHIMS, ScriptScorer

        sys.path.append(str(SHIMS))  # last: packages of the same name that are installed come first
        assert spec.code is not None
        return ScriptScorer(spec.code, spec.scoring_script)
    if spec.kind == MODEL:
        from serve.scorers.model import ModelScorer
        from serve.scorers.models.base import Loading

        assert spec.model_path is not None
        return ModelScorer(deployment or "model", Loading(spec.model_path, spec.allow_pickle, spec.options))
    raise LoadError(f"Deployments of the kind '{spec.kind}' cannot be run yet.")


async def _serve(app: ScorerApp, path: Path) -> None:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=3600,  # the gateway, which alone connects, closes what it does not need
        timeout_graceful_shutdown=max(1, int(os.environ.get("SCORING_TIMEOUT_MS", "5000")) // 1000 + 1),
    )
    await uvicorn.Server(config).serve([listener])


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.scorers", description=__doc__)
    result.add_argument("--spec", type=Path, required=True, help="the deployment's spec as JSON")
    result.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    result.add_argument("--deployment", default="", metavar="NAME", help="what the deployment is called")
    return result


if __name__ == "__main__":
    sys.exit(main())
