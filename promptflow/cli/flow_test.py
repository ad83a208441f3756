"""`pf flow test`."""

from __future__ import annotations

import argparse
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, is_dataclass
from typing import Any

from promptflow.cli.args import KeyValues, KeyValuesOrFile, add_environment_variables, add_init, read_values_file
from promptflow.cli.chat import chat
from promptflow.cli.command import Command
from promptflow.cli.errors import UsageError
from promptflow.cli.formats import to_json
from promptflow.cli.output import Output
from promptflow.client.client import PFClient
from promptflow.tracing.spans import run_context


def test(args: Namespace, out: Output) -> None:
    if args.ui or args.multi_modal:
        from promptflow.cli.flow_serve import serve_page  # a server, for this flag only

        serve_page(args, out)
        return
    inputs = {**(read_values_file(args.input) if args.input else {}), **(args.inputs or {})}
    client = PFClient(config=args.config)
    with run_context(collection=args.collection), _tape(client, args):
        if args.interactive:
            chat(client, args, inputs, out)
            return
        with out.stdout_kept():
            result = client.flows.test(
                args.flow,
                inputs=inputs,
                variant=args.variant,
                node=args.node,
                environment_variables=args.environment_variables,
                init=args.init,
                streaming=False,
                output_path=args.detail,
                cache=args.cache,
            )
            result = whole(result)
    if isinstance(result, (dict, list)):
        out.result(result)
    else:
        out.text(to_json(result) if out.explicit else str(result))


test.__test__ = False  # type: ignore[attr-defined]  # no test, whatever pytest thinks of its name


def _tape(client: PFClient, args: Namespace) -> AbstractContextManager[Any]:
    """Where the calls of the test go: to a new tape, or nowhere, since a tape answers them."""
    if args.record and args.replay:
        raise UsageError("--record and --replay do not go together", hint="record first, replay then")
    if args.record:
        from promptflow.client.taping import declared_http  # few tests have a tape
        from promptflow.tape import record

        return record(args.record, http=declared_http(client.workspace, args.record_http or ()))
    if args.replay:
        from promptflow.tape import replay  # as above

        return replay(args.replay, allow=client.workspace.database_url)
    return nullcontext()


def whole(value: Any) -> Any:
    """A streamed answer as one text, a dataclass as the dictionary it is in runs."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return "".join(map(str, value)) if hasattr(value, "__next__") else value


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flow", required=True, help="A flow folder or file, a .prompty, or module:function.")
    parser.add_argument("--node", help="Run this node only.")
    parser.add_argument("--variant", metavar="${NODE.VARIANT}", help="The variant to run.")
    parser.add_argument(
        "--inputs", action=KeyValuesOrFile, nargs="+", metavar="KEY=VALUE",
        help="Inputs, or one .json or .jsonl file that holds them.",
    )  # fmt: skip
    add_environment_variables(parser)
    add_init(parser)
    parser.add_argument("--interactive", action="store_true", help="Talk to a chat flow in the terminal.")
    parser.add_argument("--ui", action="store_true", help="Talk to a chat flow, or fill a form, on a page.")
    parser.add_argument("--collection", help="The collection of traces that this test belongs to.")
    parser.add_argument(
        "--detail", metavar="FOLDER", help="Where to keep the records of the test (<flow>/.promptflow)."
    )
    parser.add_argument(
        "--cache",
        choices=("auto", "read", "refresh", "off"),
        help="Reuse results of nodes (off, or what PF_CACHE says).",
    )
    parser.add_argument("--record", metavar="FILE", help="Keep every model call in this file, the tape.")
    parser.add_argument(
        "--record-http", nargs="+", metavar="PATTERN", help="Record calls to URLs like https://api.example.com/* too."
    )
    parser.add_argument("--replay", metavar="FILE", help="Answer all calls from a tape; the network is blocked.")
    parser.add_argument("--input", help=argparse.SUPPRESS)
    parser.add_argument("--multi-modal", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--skip-open-browser", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--config", action=KeyValues, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--url-params", action=KeyValues, nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)


TEST = Command(
    test, "Run a flow, or one node of it, on one set of inputs, and print the outputs.", _arguments,
    (
        "pf flow test --flow my_flow --inputs question='What is a flow?'",
        "pf flow test --flow my_flow --inputs rows.jsonl --variant '${ask.variant_1}'",
        "pf flow test --flow my_flow --node fetch --inputs url=http://localhost:8000",
        "pf flow test --flow my_chat --interactive",
        "pf flow test --flow my_flow --inputs question='Why?' --replay tests/tape.jsonl",
    ),
    "json",
)  # fmt: skip
