"""`pf flow serve`."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from argparse import ArgumentParser, Namespace
from pathlib import Path

from promptflow.cli.args import KeyValues, add_environment_variables, add_init, positive
from promptflow.cli.command import Command
from promptflow.cli.output import Output

DEFAULT_PORT = 8080


def serve(args: Namespace, out: Output) -> None:
    # The web framework, for this verb only.
    from promptflow.serving.example import curl
    from promptflow.serving.export.build import definition_of
    from promptflow.serving.loaded import flow_file
    from promptflow.serving.options import ServeOptions
    from promptflow.serving.process import run
    from promptflow.serving.server import listen, url_of
    from promptflow.serving.workers import serve_with_workers

    options = ServeOptions.from_environment(
        source=str(Path(args.source).resolve()),
        environment_variables=args.environment_variables,
        init=args.init,
        static_folder=args.static_folder and str(Path(args.static_folder).resolve()),
        config=args.config,
        variant=getattr(args, "variant", None),
    )
    listener = listen(args.host, args.port)
    url = url_of(listener)

    def ready() -> None:
        out.note(f"{url} until Ctrl-C")
        file = flow_file(Path(options.source))  # by now the flow's folder is the working directory
        out.hint(curl(url, file, definition_of(file)))
        if not args.skip_open_browser and _has_display():
            webbrowser.open(url)

    if args.workers > 1:
        serve_with_workers(options, listener, args.workers, ready)
    else:
        run(options, listener, ready)


def serve_page(args: Namespace, out: Output) -> None:
    """`pf flow test --ui`: the page of a flow on a free port, until Ctrl-C."""
    same = ("environment_variables", "init", "config", "variant", "skip_open_browser")
    given = {name: getattr(args, name) for name in same}
    place = {"source": args.flow, "host": "localhost", "port": args.port or 0, "workers": 1, "static_folder": None}
    serve(Namespace(**given, **place), out)


def _has_display() -> bool:
    """Without one, a browser would open in the terminal that the server runs in, if at all."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--source", required=True, help="A flow folder or file, or a .prompty file.")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"Port to listen on ({DEFAULT_PORT}).")
    parser.add_argument("--host", default="localhost", help="Address to listen on (localhost).")
    parser.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="Processes that answer on the port (1)."
    )
    parser.add_argument("--engine", choices=("flask", "fastapi"), help="Kept for old scripts: there is one engine.")
    add_environment_variables(parser)
    parser.add_argument("--skip-open-browser", action="store_true", help="Open no browser.")
    add_init(parser)
    parser.add_argument("--static-folder", "--static_folder", help=argparse.SUPPRESS)
    parser.add_argument("--config", action=KeyValues, nargs="+", help=argparse.SUPPRESS)


SERVE = Command(
    serve, "Serve a flow over HTTP, with a page to try it on.", _arguments,
    (
        "pf flow serve --source my_flow",
        "pf flow serve --source my_flow --port 8081 --workers 4 --skip-open-browser",
        "pf flow serve --source my_class --init model=gpt-4o-mini --environment-variables LEVEL=2",
    ),
)  # fmt: skip
