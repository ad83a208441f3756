"""``python -m promptflow.serving [FOLDER]``: serve a folder that `pf flow build` made, or a flow's own folder."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from promptflow.exceptions import PromptflowException
from promptflow.serving.options import CONNECTIONS_FOLDER, PROJECT_PATH, ServeOptions
from promptflow.serving.process import run
from promptflow.serving.server import listen, url_of
from promptflow.serving.workers import serve_with_workers


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        _serve(Path(args.folder), args.host, args.port, args.workers)
    except PromptflowException as error:
        place = f"\n  at {error.location}" if error.location else ""
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"error: {error}{place}{hint}\n")
        return 1
    return 0


def _serve(folder: Path, host: str, port: int, workers: int) -> None:
    is_built = (folder / "flow").is_dir() and (folder / "settings.json").is_file()
    flow, connections = (folder / "flow", folder / "connections") if is_built else (folder, None)
    options = ServeOptions.from_environment(
        source=str(flow.resolve()),
        connections_folder=os.environ.get(CONNECTIONS_FOLDER) or (str(connections.resolve()) if connections else ""),
    )
    listener = listen(host, port)
    url = url_of(listener)

    def ready() -> None:
        sys.stderr.write(f"{url}\n")
        sys.stderr.flush()

    if workers > 1:
        serve_with_workers(options, listener, workers, ready)
    else:
        run(options, listener, ready)


def _parser() -> argparse.ArgumentParser:
    environ = os.environ
    parser = argparse.ArgumentParser(prog="python -m promptflow.serving", description="Serve a flow over HTTP.")
    parser.add_argument("folder", nargs="?", default=environ.get(PROJECT_PATH) or ".", help="A built or a flow folder.")
    parser.add_argument("--host", default=environ.get("PF_SERVING_HOST") or "127.0.0.1")
    parser.add_argument("--port", type=int, default=environ.get("PF_SERVING_PORT") or "8080")
    parser.add_argument("--workers", type=int, default=environ.get("PROMPTFLOW_WORKER_NUM") or "1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
