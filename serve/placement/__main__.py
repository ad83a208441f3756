"""``python -m serve.placement [FOLDER]``: an instance on a TCP port, from a folder of `pf deployment export`."""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from promptflow.exceptions import PromptflowException
from promptflow.serving.export.container import PORT
from promptflow.workspace.atomic import write_whole
from promptflow.workspace.http_server import listen
from serve.placement.folder import DEPLOYMENT, read_folder
from serve.placement.key import Guarded, take_key
from serve.scorers.__main__ import NOT_LOADED, make_room, serve, settle
from serve.scorers.kinds import Application, application

KEEP_ALIVE = 75  # seconds that a connection without requests stays


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        key = take_key(os.environ)
        spec = read_folder(args.folder, os.environ)
        os.environ.update(spec.variables)
        deployment = os.environ.get(DEPLOYMENT, "")
        settle(spec, deployment)
        level = logging.getLevelNamesMapping().get(os.environ.get("AZUREML_LOG_LEVEL", "INFO").upper(), logging.INFO)
        logging.basicConfig(level=level, format="%(asctime)s %(levelname).1s %(name)s %(message)s")
        app = application(spec, deployment)
        make_room(spec.code)
        app.prepare()
        open_port = functools.partial(_listen, args.host, args.port, args.announce)
        asyncio.run(serve(app, open_port, functools.partial(_guarded, key), KEEP_ALIVE))
    except PromptflowException as error:
        print(f"error: {error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr, flush=True)
        return NOT_LOADED
    return 0


def _guarded(key: str, app: Application) -> Any:
    return Guarded(app, key)


def _listen(host: str, port: int, announce: Path | None) -> socket.socket:
    """Says where it listens; whoever reads it finds the application ready."""
    listener = listen(host, port)
    if announce is not None:
        write_whole(announce, str(listener.getsockname()[1]).encode(), mode=0o600)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    return listener


def _parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.placement", description=__doc__)
    result.add_argument("folder", nargs="?", type=Path, default=Path(), help="the exported folder (this one)")
    result.add_argument("--host", default=os.environ.get("PF_SERVING_HOST") or "127.0.0.1", help="where to listen")
    port = int(os.environ.get("PF_SERVING_PORT") or PORT)
    result.add_argument("--port", type=int, default=port, help="0: any that is free")
    result.add_argument("--announce", type=Path, metavar="FILE", help="a file to write the port to")
    return result


if __name__ == "__main__":
    sys.exit(main())
