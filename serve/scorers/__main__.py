"""``python -P -m serve.scorers --spec FILE --socket PATH``: one instance of a deployment, until it is told to stop.

The gateway's process starts it. What the user's code prints goes to this process's output, which is the log.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from promptflow.exceptions import PromptflowException
from serve.endpoints.spec import MODEL, Spec
from serve.scorers.gaps import noticed
from serve.scorers.kinds import Application, application
from serve.scorers.user_code import hidden_by

NOT_LOADED = 3  # the exit code of what could not be loaded: it would not help to start it again at once
LOADING = (1_000_000, 50, 100)  # looks for garbage are rare while libraries are imported: a fifth of that time


def main(argv: Sequence[str] | None = None) -> int:
    gc.set_threshold(*LOADING)
    args = parser().parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    spec = Spec.from_json(json.loads(args.spec.read_bytes()))
    settle(spec, args.deployment)
    level = logging.getLevelNamesMapping().get(os.environ.get("AZUREML_LOG_LEVEL", "INFO").upper(), logging.INFO)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s %(message)s")
    try:
        app = application(spec, args.deployment)
        make_room(spec.code)
        with noticed() as notes:
            app.prepare()
        for note in notes:
            print(f"warning: {note}", file=sys.stderr, flush=True)
        if spec.kind == MODEL:
            gc.freeze()  # libraries, and what they made of a file: hardly any garbage, and long to look through
        asyncio.run(serve(app, functools.partial(listen_at, args.socket), functools.partial(Front, notes=notes)))
    except PromptflowException as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr, flush=True)
        return NOT_LOADED
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
        own = dict.fromkeys((str((code / (spec.scoring_script or "_")).parent), str(code)))
        sys.path[:0] = own


def make_room(code: Path | None) -> None:
    """Where the user's folder has a module of the name of one of our packages, that is what its code gets. What is
    loaded of ours goes on under the references that it has."""
    own = hidden_by(code) if code else []
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]


def spare_garbage_collection() -> None:
    """What was loaded never becomes garbage: a look at all of it takes as long as a hundred requests, and a thousand
    rows would bring one about."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def listen_at(path: Path) -> socket.socket:
    """A unix socket that only this user can open."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


async def serve(
    app: Application,
    listen: Callable[[], socket.socket],
    front: Callable[[Application], Any],
    keep_alive: int = 3600,  # the gateway, which alone connects, closes what it does not need
) -> None:
    """Whoever finds the socket finds the application ready."""
    await app.open()
    spare_garbage_collection()
    listener = listen()
    config = uvicorn.Config(
        front(app),
        log_level="warning",
        access_log=False,
        lifespan="auto",
        ws="none",
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=max(1, int(os.environ.get("SCORING_TIMEOUT_MS", "5000")) // 1000 + 1),
    )
    try:
        await uvicorn.Server(config).serve([listener])
    finally:
        await app.close()


class Front:
    """Tells that it is ready, which applications do not by themselves, and after that a line for each of ``notes``."""

    def __init__(self, app: Application, notes: Sequence[str] = ()) -> None:
        self._app = app
        self._ready = "\n".join(("Ready", *notes)).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/ready":
            head = [(b"content-type", b"text/plain"), (b"content-length", str(len(self._ready)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": self._ready})
            return
        await self._app(scope, receive, send)


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.scorers", description=__doc__)
    result.add_argument("--spec", type=Path, required=True, help="the deployment's spec as JSON")
    result.add_argument("--socket", type=Path, required=True, help="the unix socket to listen on")
    result.add_argument("--deployment", default="", metavar="NAME", help="what the deployment is called")
    return result


if __name__ == "__main__":
    sys.exit(main())
