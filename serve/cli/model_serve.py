"""`pf model serve`: models behind one port, as the OpenAI API."""

from __future__ import annotations

import json
import os
import secrets
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from catalog.machine import Machine
from promptflow.cli.args import KeyValues
from promptflow.cli.command import Command
from promptflow.cli.output import Output
from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.http_server import listen
from serve.fitted import Fitted
from serve.offers import Offers
from serve.openai.app import OpenAIApp
from serve.openai.keys import Key, Keys, Limit, read_keys
from serve.router import Budget, Router
from serve.server import serve

KEY_VARIABLE = "PF_SERVE_API_KEY"
DEFAULT_PORT = 8000
MEMORY_SHARE = 0.8  # of the GPUs' memory or, without any, of the machine's, unless --memory says otherwise
LOCAL = ("127.0.0.1", "localhost", "::1")
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def run(args: Namespace, out: Output) -> None:
    if not args.name and not args.any:
        raise ValidationException("Name a model to serve.", hint="pf model serve builtin/intent-mini, or --any")
    offers = _offers(args)
    served = [offers.offer(name, args.adapter if at == 0 else {}) for at, name in enumerate(args.name)]
    router = Router(
        served,
        Budget(_memory(args.memory), args.max_models, args.idle),
        find=offers.among_known if args.any else None,
        find_adapter=offers.known_adapter,
        told=Fitted(Workspace.open),
        known=offers.all_known if args.any else None,
    )
    keys = _keys(args, out)
    listener = listen(args.host, args.port)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def ready() -> None:
        out.note(f"{', '.join(router.slots) or 'the models of this machine'} at {url}/v1, until Ctrl-C")
        out.hint(f"curl {url}/v1/models")

    serve(OpenAIApp(router, keys), listener, preload=[one.name for one in served[:1]], ready=ready)


def _offers(args: Namespace) -> Offers:
    options = {name: _value(text) for name, text in args.option.items()}
    if args.connection is None:
        kind = args.engine or ""
    elif args.engine in (None, "remote"):
        kind, options["connection"] = "remote", args.connection
    else:
        raise ValidationException(f"The engine '{args.engine}' runs models here and asks no connection.")
    if kind == "remote" and args.any:
        raise ValidationException("Which models another server has is not known here.", hint="name them, without --any")
    return Offers(Workspace.open, kind, options)


def _keys(args: Namespace, out: Output) -> Keys:
    """Those of the file, the flags and the environment. Beyond this machine nobody is served without one."""
    limit = Limit(args.requests_per_minute, args.tokens_per_minute, args.concurrent)
    keys = read_keys(args.api_key_file, limit) if args.api_key_file else []
    given = [*args.api_key, *filter(None, [os.environ.get(KEY_VARIABLE)])]
    keys += [Key.of(f"key-{number}", secret, limit) for number, secret in enumerate(dict.fromkeys(given), start=1)]
    if not keys and args.host not in LOCAL and not args.no_api_key:
        secret = f"sk-{secrets.token_urlsafe(24)}"
        out.note(f"API key for this time: {secret}")
        keys.append(Key.of("key-1", secret, limit))
    return Keys(keys, limit)


def _memory(text: str | None) -> int:
    """Bytes of ``16GB``, ``16GiB`` or ``16000000000``; by default a share of what models are loaded into here."""
    if text is None:
        machine = Machine.here()
        return int((sum(gpu.total for gpu in machine.gpus) or machine.memory) * MEMORY_SHARE)
    number = text.strip().lower().removesuffix("b")
    digits = number.rstrip("kmgti")
    try:
        value = float(digits) * UNITS[number[len(digits) :]]
    except (ValueError, KeyError):
        raise ValidationException(f"'{text}' is no amount of memory.", hint="--memory 16GB") from None
    if not 0 <= value < float("inf"):
        raise ValidationException(f"'{text}' is no amount of memory.", hint="--memory 16GB")
    return int(value)


def _value(text: str) -> Any:
    """An option's value: JSON where it is, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", nargs="*", metavar="NAME",
        help="Models: registered, pulled, builtin/..., or folders. The first is loaded at once, others when asked for.",
    )  # fmt: skip
    parser.add_argument(
        "--adapter", nargs="+", action=KeyValues, default={}, metavar="NAME=ADAPTER",
        help="LoRA adapters of the first model, and what requests call them: MODEL@NAME, or NAME.",
    )  # fmt: skip
    parser.add_argument("--any", action="store_true", help="Serve any registered or pulled model that is asked for.")
    parser.add_argument("--engine", metavar="KIND", help="onnx, transformers, remote, ... (what fits the model).")
    parser.add_argument(
        "--connection", metavar="CONN", help="The models are those of another server (--engine remote): this one."
    )
    parser.add_argument(
        "--option", nargs="+", action=KeyValues, default={}, metavar="NAME=VALUE", help="Options of the engine."
    )
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (127.0.0.1: this machine only).")
    parser.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help=f"Port ({DEFAULT_PORT}); 0: a free one.")
    parser.add_argument("--api-key", action="append", default=[], metavar="KEY", help="A key that may ask; repeatable.")
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="YAML list of keys: name, key or sha256, limits of its own."
    )
    parser.add_argument("--no-api-key", action="store_true", help="Without any key, serve other machines, too.")
    parser.add_argument("--requests-per-minute", type=_count, default=0, metavar="N", help="Limit of each key.")
    parser.add_argument("--tokens-per-minute", type=_count, default=0, metavar="N", help="Limit of each key.")
    parser.add_argument("--concurrent", type=_count, default=0, metavar="N", help="Requests at once of each key.")
    parser.add_argument(
        "--memory", metavar="SIZE", help="For all loaded models (80 %% of the GPUs' or the machine's). 0: no limit."
    )
    parser.add_argument("--max-models", type=_count, default=0, metavar="N", help="Models loaded at once.")
    parser.add_argument("--idle", type=float, default=0.0, metavar="SECONDS", help="Unload what is unused so long.")


SERVE = Command(
    run,
    "Serve models over the OpenAI API: chat, completions, embeddings, responses, rerank. Clients may give the key in "
    f"{KEY_VARIABLE} of this command's environment.",
    _arguments,
    (
        "pf model serve builtin/intent-mini",
        "pf model serve my-model --adapter formal=formal-lora brief=brief-lora",
        "pf model serve gpt-4o-mini --engine remote --connection my-openai",
        "pf model serve small large --memory 12GB --idle 600 --api-key-file keys.yaml",
    ),
)
