"""`pf endpoint get-credentials` and `regenerate-keys`."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from typing import Any

from promptflow.cli import exits, style
from promptflow.cli.args import add_yes
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from serve.cli.endpoint_arguments import add_at_once, add_endpoint, open_store
from serve.cli.endpoint_live import tell_server
from serve.endpoints.store import PRIMARY, SECONDARY, EndpointStore
from serve.endpoints.tokens import SECONDS


def get(args: Namespace, out: Output) -> None:
    out.result(credentials(open_store(), args.name, args.seconds))


def regenerate(args: Namespace, out: Output) -> int:
    store = open_store()
    store.get(args.name)
    # scripts for `az ml`, which does not ask, go on as they are
    sure = args.yes or not style.is_terminal(sys.stdin)
    if not out.confirm(f"Replace the {args.key_type} key of '{args.name}'? Who uses it is refused then.", sure):
        out.note("not replaced")
        return exits.ERROR
    store.regenerate(args.name, args.key_type)
    tell_server(store.workspace)
    out.note(f"replaced the {args.key_type} key of the endpoint '{args.name}'")
    out.hint(f"pf endpoint get-credentials -n {args.name}")
    return exits.OK


def credentials(store: EndpointStore, name: str, seconds: float = SECONDS) -> dict[str, Any]:
    """What to show to an endpoint, in the words of `az ml`."""
    if not store.get(name).takes_tokens:
        keys = store.keys(name)
        return {"primaryKey": keys.primary, "secondaryKey": keys.secondary}
    token = store.token(name, seconds)
    return {
        "accessToken": token.value,
        "expiryTimeUtc": token.expires,
        "expiry": datetime.fromtimestamp(token.expires, UTC).isoformat(),
        "refreshAfterTimeUtc": token.refresh_after,
        "tokenType": "Bearer",
    }


def _get_arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="N", help=f"So long a token is good ({SECONDS})."
    )


def _regenerate_arguments(parser: ArgumentParser) -> None:
    add_endpoint(parser)
    parser.add_argument("--key-type", choices=(PRIMARY, SECONDARY), default=PRIMARY, help=f"Which one ({PRIMARY}).")
    add_at_once(parser)
    add_yes(parser)


GET = Command(
    get, "Print the keys of an endpoint, or a new token of one that takes tokens.", _get_arguments,
    (
        "pf endpoint get-credentials -n my-endpoint",
        "pf endpoint get-credentials -n my-endpoint --query primaryKey -o tsv",
    ),
    "json",
)  # fmt: skip
REGENERATE = Command(
    regenerate, "Replace a key of an endpoint. With the primary one, its tokens end as well.", _regenerate_arguments,
    ("pf endpoint regenerate-keys -n my-endpoint --key-type secondary -y",),
)  # fmt: skip
