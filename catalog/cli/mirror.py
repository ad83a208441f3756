"""`pf catalog mirror` and `pf catalog mirror-token`: a hub of one's own."""

from __future__ import annotations

import ipaddress
import os
from argparse import ArgumentParser, Namespace
from typing import Any

from catalog.local import LocalModels
from catalog.mirror.access import READ, WRITE, Tokens
from catalog.registry import Registry
from promptflow.cli import exits
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.output import Output
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace import Workspace

HOST = "127.0.0.1"
DEFAULT_PORT = 23380
_ROLES = (READ, WRITE)


def mirror(args: Namespace, out: Output) -> int:
    from catalog.mirror.serve import serve  # brings FastAPI
    from promptflow.workspace.http_server import listen

    with Workspace.open() as workspace:
        workspace.require_writable()
        tokens = Tokens(workspace).list()
        if not tokens and not args.open and not _is_loopback(args.host):
            raise ValidationException(
                f"Everybody who reaches {args.host} could read all models here.",
                hint="pf catalog mirror-token NAME makes a token; --open serves without",
            )
        with listen(args.host, args.port) as listener:
            url = _url(args.host, listener.getsockname()[1])

            def ready() -> None:
                out.result({"url": url, "pid": os.getpid(), **_served(workspace), "tokens": len(tokens)})
                out.stdout.flush()  # whoever started this waits for it
                out.hint(f"HF_ENDPOINT={url} hf download ID; Ctrl-C stops it")

            serve(workspace, listener, ready, args.allow_host)
    return exits.OK


def token(args: Namespace, out: Output) -> int:
    with Workspace.open() as workspace:
        tokens = Tokens(workspace)
        if args.name is None:
            rows = [{"name": token.name, "role": token.role} for token in tokens.list()]
            out.result(rows, columns=("name", "role"))
            return exits.OK
        if not args.delete:
            role = WRITE if args.write else READ
            out.result({"name": args.name, "role": role, "token": tokens.create(args.name, role)})
            out.hint("it is not shown again; clients take it from HF_TOKEN")
            return exits.OK
        if args.write:
            raise UsageError("--delete and --write do not go together")
        if not tokens.delete(args.name):
            raise UserErrorException(
                f"There is no token called {args.name}.", hint="pf catalog mirror-token lists them"
            )
        out.note(f"deleted the token {args.name}")
    return exits.OK


def _served(workspace: Workspace) -> dict[str, Any]:
    pulled = {model.id for model in LocalModels().list()}
    return {"pulled": len(pulled), "registered": len(Registry(workspace).assets.newest())}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _mirror_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--host", default=HOST, help=f"Address to listen on ({HOST}: this machine only).")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"Port ({DEFAULT_PORT}); 0 takes a free one.")
    parser.add_argument("--open", action="store_true", help="Serve other machines although there are no tokens.")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="A name that this machine is called by, where there are no tokens; repeatable.",
    )  # fmt: skip


def _token_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="Whose token; without it all are listed.")
    parser.add_argument("--write", action="store_true", help="It may upload as well.")
    parser.add_argument("--delete", action="store_true", help="Withdraw it.")


MIRROR = Command(
    mirror,
    "Serve pulled models under their own ids, and registered ones as workspace/NAME, by the contract of the Hugging "
    "Face Hub: huggingface_hub, transformers, vLLM and `hf` on other machines need HF_ENDPOINT alone. `hf upload` with "
    "a write token registers a version. As soon as there are tokens, readers need one, too.",
    _mirror_arguments,
    (
        "pf catalog mirror",
        "pf catalog mirror --host 0.0.0.0 --port 8080",
        "HF_ENDPOINT=http://127.0.0.1:23380 hf download workspace/triage",
    ),
    "json",
)
TOKEN = Command(
    token,
    "Make, list or withdraw the tokens of `pf catalog mirror`. A new one takes the place of the one of that name.",
    _token_arguments,
    ("pf catalog mirror-token ci --write", "pf catalog mirror-token", "pf catalog mirror-token ci --delete"),
    "table",
)
