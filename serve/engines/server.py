"""``python -m serve.engines.server``: one model behind a port, until it is stopped or nobody asks any more.

What the connection ``local`` starts. `pf model serve` has more to it: several models, keys with limits.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from promptflow.exceptions import UserErrorException
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import listen
from serve.fitted import Fitted
from serve.offers import Offers
from serve.openai.app import OpenAIApp
from serve.openai.keys import Key, Keys
from serve.router import Router
from serve.server import serve

KEY = "PF_ENGINE_KEY"


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    secret = os.environ.get(KEY, "")
    try:
        offers = Offers(Workspace.open)
        served = offers.offer(args.model)
        # Whoever has this server's key is the user who started it, and may name any folder.
        router = Router([served], find_adapter=offers.any_adapter if secret else None, told=Fitted(Workspace.open))
        app = OpenAIApp(router, Keys([Key.of("local", secret)] if secret else []))
        listener = listen(args.host, args.port)
        serve(app, listener, preload=[served.name], port_file=args.port_file, idle=args.idle)
    except UserErrorException as error:
        print(f"{error}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="python -m serve.engines.server", description=__doc__)
    result.add_argument("--model", required=True, help="builtin/NAME, fake/echo, a folder, or a model of the workspace")
    result.add_argument("--host", default="127.0.0.1")
    result.add_argument("--port", type=int, default=0, help="0 takes a free one")
    result.add_argument("--port-file", type=Path, help="gets the port once requests are answered; removed at the end")
    result.add_argument("--idle", type=float, default=0, help="stop after so many seconds without a request; 0: never")
    return result


if __name__ == "__main__":
    sys.exit(main())
